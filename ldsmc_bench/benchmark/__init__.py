"""How fast a method is on this machine, what its work comes to, and how both grow."""
