"""Discovery of plugins, the site's policy, and answers about what is installed."""

from xtal.plugins.manager import Installed, Plugins, Problem, default_plugins
from xtal.plugins.policy import Policy, load_policy

__all__ = ["Installed", "Plugins", "Policy", "Problem", "default_plugins", "load_policy"]
