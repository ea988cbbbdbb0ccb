"""
Lets C{twistd} find C{twistd greeter}.

Must never become a package of its own (no C{__init__.py} in these directories).
"""

from twisted.application.service import ServiceMaker

greeter = ServiceMaker("greeter", "greeter.tap", "A web server that registers itself in a cluster.", "greeter")
