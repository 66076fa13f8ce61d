"""What the main process tells the worker processes of one instance, as names of environment variables."""

MAIN_PID = "SIDECAR_MAIN_PID"  # environment variable with the process id of the main process
COUNTERS = "SIDECAR_COUNTERS"  # environment variable with the path of the table of counts
INSTANCE = "SIDECAR_INSTANCE"  # environment variable with the name of this instance among replicas
DRAIN_MARKER = "SIDECAR_DRAIN_MARKER"  # environment variable with the path of a file that exists while draining
SERVING = "SIDECAR_SERVING"  # environment variable with the path of the folder in which workers say that they serve
LEDGER = "SIDECAR_LEDGER"  # environment variable with the path of the ledger of the plan
LICENSE = "SIDECAR_LICENSE"  # environment variable with the path of the snapshot of the licence
TOOLS_FILE = "SIDECAR_TOOLS_FILE"  # environment variable with the path of the file that registered tools are kept in
