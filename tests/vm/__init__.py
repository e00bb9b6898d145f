"""Every kind of host, each in a throw-away kernel: ``python -m tests.vm --help``.

The kernel is User Mode Linux, an ordinary program: it needs no KVM, no QEMU and no disk image. Its root is a
copy-on-write view of this machine's own, so what is tested is this checkout, with the interpreter it is run by; what a
guest writes is gone with it.

    kernels.py   gets the kernels, which are packages of Debian
    hosts.py     the kinds of hosts
    machine.py   boots one, as seen from out here
    guest.py     pid 1 of it, as seen from in there
    report.py    what the tests said, and the table in docs/hosts.md
"""
