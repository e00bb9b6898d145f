"""The way off bpm: a plan as an OCI bundle, which any runtime of the OCI runtime specification runs."""

from bpm.oci.bundle import BundleFile, bundle_files
from bpm.oci.config import oci_config
from bpm.oci.export import export_bundle

__all__ = ["BundleFile", "bundle_files", "export_bundle", "oci_config"]
