// Folders of compiled engines: whether anybody else could have put something there.
//
// An engine is code. Whoever can write to the folder it is loaded from can have their own code run, so a cache
// is used only where its owner and its permissions say that nobody else could, as OpenSSH does with keys. The
// same rules stand in runtimes/python/deploykit_runtimes/machine/folders/trusted_folder.py.
#pragma once

#include <string>

namespace deploykit {

// The folder, behind symbolic links if there are any; made where it is missing, for its user alone.
//
// Refused are a folder, and with `contents` what lies in it, that belong to another user than this one and root,
// or that others may write to; and a way there that another user could turn elsewhere. Where the environment has
// DEPLOYKIT_TRUST_CACHE=1, folders are used whoever owns them.
//
// Throws OptionError: it cannot be created, is not a folder, or is not trusted.
std::string trusted_folder(const std::string& folder, bool contents);

}  // namespace deploykit
