"""What confines the service where there is neither Landlock nor seccomp: a sandbox on macOS, a job object on Windows.

Both are written from the systems' documentation and have not been run. Who wants them is `kalguard os-profile`.
"""

from kalguard.hardening.process import Rules

_MACOS = """\
; KalGuard under macOS' sandbox-exec:
;   sandbox-exec -f FILE kalguard-sidecar
; Made for the settings in force when it was written. Written from documentation, not run. Apple calls sandbox-exec
; deprecated; it has no successor for programs that are started from a shell.
(version 1)
(deny default)
(import "system.sb")
(allow process-fork)
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow mach-lookup)
(allow ipc-posix-sem)
(allow file-read-metadata)
"""

_WINDOWS = """\
# KalGuard in a job object of Windows: no more memory and processes than these, no process that outlives it, no window,
# no clipboard. Written from documentation, not run. Start it in PowerShell as the account that is to run the service:
#   powershell -ExecutionPolicy Bypass -File FILE
# Beside it: an account of its own without administrator's rights, which may write to the folders of the audit log and
# of the state alone, and a firewall rule for the two ports.
$ErrorActionPreference = "Stop"
Add-Type -TypeDefinition @"
using System;
using System.Runtime.InteropServices;
public static class Job {
    [StructLayout(LayoutKind.Sequential)] struct Basic {
        public long PerProcessUserTime, PerJobUserTime; public uint Flags; public UIntPtr Least, Most;
        public uint Processes; public UIntPtr Affinity; public uint Priority, Scheduling; }
    [StructLayout(LayoutKind.Sequential)] struct Counters { public ulong A, B, C, D, E, F; }
    [StructLayout(LayoutKind.Sequential)] struct Extended {
        public Basic Basic; public Counters Io; public UIntPtr ProcessMemory, JobMemory, PeakProcess, PeakJob; }
    [DllImport("kernel32.dll", SetLastError = true, CharSet = CharSet.Unicode)]
    static extern IntPtr CreateJobObject(IntPtr security, string name);
    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool SetInformationJobObject(IntPtr job, int kind, ref Extended value, int size);
    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool SetInformationJobObject(IntPtr job, int kind, ref uint value, int size);
    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool AssignProcessToJobObject(IntPtr job, IntPtr process);
    [DllImport("kernel32.dll")] static extern IntPtr GetCurrentProcess();
    static void Check(bool done) { if (!done) throw new System.ComponentModel.Win32Exception(); }
    public static void Enter(ulong memory, uint processes) {
        IntPtr job = CreateJobObject(IntPtr.Zero, null);
        Check(job != IntPtr.Zero);
        Extended limits = new Extended();
        limits.Basic.Flags = 0x2000 | 0x200 | 0x8 | 0x400;  // die with the job, memory, processes, no box for crashes
        limits.Basic.Processes = processes;
        limits.JobMemory = (UIntPtr)memory;
        Check(SetInformationJobObject(job, 9, ref limits, Marshal.SizeOf(limits)));
        uint windows = 0xFF;  // everything about windows, clipboard, desktop and settings
        Check(SetInformationJobObject(job, 4, ref windows, 4));
        Check(AssignProcessToJobObject(job, GetCurrentProcess()));
    }
}
"@
[Job]::Enter(1GB, 80)
& kalguard-sidecar
exit $LASTEXITCODE
"""


def macos_profile(rules: Rules) -> str:
    """A profile for sandbox-exec with what `rules` allow."""
    lines = [_MACOS]
    for path, rights in rules.files:
        lines += [f"(allow file-read* (subpath {_quoted(path)}))\n"] if "read" in rights else []
        lines += [f"(allow file-write* (subpath {_quoted(path)}))\n"] if "write" in rights else []
        lines += [f"(allow process-exec (literal {_quoted(path)}))\n"] if "execute" in rights else []
    lines += [f'(allow network-bind network-inbound (local tcp "*:{port}"))\n' for port in rules.bind]
    lines += [f'(allow network-outbound (remote tcp "*:{port}"))\n' for port in rules.connect]
    if rules.connect:
        lines.append('(allow network-outbound (remote udp "*:53") (literal "/private/var/run/mDNSResponder"))\n')
    return "".join(lines)


def windows_steps() -> str:
    """A PowerShell script that starts the service in a job object."""
    return _WINDOWS


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
