"""Training of the absence network (`eg_agent.verify.absence_network`) on line intensities of structures."""
