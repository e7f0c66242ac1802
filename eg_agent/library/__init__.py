from eg_agent.library.library import Library
