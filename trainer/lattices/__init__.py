"""What lattices say of groups: learned from known structures, for `eg_agent.identify.lattice_prior`."""
