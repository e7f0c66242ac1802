"""Making libraries of known structures, calibrating what a lookup says, and listing unseen compounds.

`building` (from a corpus, tables or CIFs), `simulating` and `calibrating` (the constants of
`eg_agent.library.Expert`, on simulated patterns only), `unseen` (the list published with a checkpoint).
"""
