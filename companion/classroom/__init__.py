"""From one source, everything a class needs: notebook pairs, student notebooks, the book."""
