"""The second door: exports of any size, read in partitions whose people can be decided on by themselves.

`pieces` finds what is to be read, `lines` takes it apart, `ties` says who belongs together, `spill` keeps it
in partitions, `joining` follows ties from one partition to another, `partitions` gives each back whole;
`partitioning` does all of this by several `workers`.
"""
