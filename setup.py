"""
Which packages make up the distribution; all else about it is in setup.cfg.

The plugin goes into C{twisted/plugins}, which is Twisted's own directory once installed: hence a package is named
here that has no C{__init__.py}, and C{twisted} itself is not. Naming the packages' directory makes an editable
install put that directory on the path, so that C{twistd} finds the plugin in it too; setuptools' other way, a hook
that knows the packages alone, would hide it.

What is built on the way is kept nowhere: what an earlier build had left in the tree would go into the next wheel.
"""

from tempfile import TemporaryDirectory

from setuptools import find_packages, setup

with TemporaryDirectory() as directory:
    setup(
        packages=[*find_packages(include=["etcd_twisted", "etcd_twisted.*"]), "twisted.plugins"],
        package_dir={"": "."},
        options={"build": {"build_base": directory}},
    )
