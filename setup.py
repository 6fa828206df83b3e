"""What pyproject.toml cannot say: the top-level `migrations/` is installed as `embedstore.migrations`."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["embedstore*"]),
        "embedstore.migrations",
        "embedstore.migrations.versions",
    ],
    package_dir={"embedstore.migrations": "migrations"},
)
