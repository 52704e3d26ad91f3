"""hardpoint beside its peers, measured in one run: `./build.sh bench`."""
