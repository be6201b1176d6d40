"""A student's server in a class: idle kernels and servers are stopped, and one student's kernel leaves the others' cores alone.

The `Dockerfile` copies it to /etc/jupyter; without a container, `jupyter lab --config=scripts/hub/jupyter_server_config.py`.
"""

import os
import resource

c = get_config()

# A kernel that has run nothing for 20 minutes is stopped, even if its notebook is still open in a browser. One that is
# busy is not. The notebook keeps its outputs; "Run All Cells" brings the rest back.
c.MappingKernelManager.cull_idle_timeout = 20 * 60
c.MappingKernelManager.cull_interval = 60
c.MappingKernelManager.cull_connected = True
c.MappingKernelManager.cull_busy = False
c.TerminalManager.cull_inactive_timeout = 20 * 60
c.TerminalManager.cull_interval = 60
# A server without kernels, terminals and requests for an hour ends itself; the hub starts it again when the student returns.
c.ServerApp.shutdown_no_activity_timeout = 60 * 60

# PyTorch takes a thread for each core of the machine unless it is told. JupyterHub says in CPU_LIMIT what a student has.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(float(os.environ.get("CPU_LIMIT") or 1)))))
# JupyterHub says in MEM_LIMIT, in bytes, what a container has; whatever takes more is killed without a word. A process that
# may not ask for more gets an error instead, in the cell that asked.
if os.environ.get("MEM_LIMIT", "").isdigit():
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(os.environ["MEM_LIMIT"]), most))

# Nothing is fetched: no news, no updates, no extensions.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.LabApp.default_url = "/lab/tree/00_start_here.ipynb"
