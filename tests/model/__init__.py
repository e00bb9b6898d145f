"""Linux's mounts as a small program, what it predicts of a container, and what the kernel makes of the same.

mounts.py       the model: trees of names, mounts on mounts, propagation, paths
linux.py        the kernel's own calls, in a mount namespace that nobody else is in
operations.py   one language for both: what can be done to either, and printed as a command
views.py        the mount table of either, in words that can be compared
container.py    what a plan's entries make of the model's host: the inside, as predicted
layouts.py      hosts with links, mounts and volumes, drawn by hypothesis and printed as a bpm.yml
world.py        such a host made real, and a job on it

test_mounts.py      the model is right: whatever is done, model and kernel answer alike
test_laws.py        what any plan promises, told by what is seen inside
test_containers.py  the plan is carried out: what a probe sees and may do inside is what was predicted
"""
