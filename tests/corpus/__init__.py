"""One thread for every library, before any is loaded: processes with several cannot be split off (see `runner`)."""

from tests import conftest as conftest
