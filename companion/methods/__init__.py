"""One module for each paper, readable in one sitting."""
