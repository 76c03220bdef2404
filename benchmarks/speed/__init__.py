"""What ``bench.py`` and ``growth.py`` are made of.

- ``works``        what is computed: the same token ids and texts for every engine
- ``checkpoints``  folders with random weights at the published sizes, and their conversions
- ``engines``      one file for each library: loads a folder, answers a work
- ``worker``       a process that holds one engine and computes when told to
- ``rounds``       workers in turn, and what their times say
- ``cases``        one file for each subject: sizes, who takes part, and the ratio that we want
- ``machine``      the facts that the numbers depend on
- ``tables``       results as Markdown
"""
