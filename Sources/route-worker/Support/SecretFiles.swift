// Files that hold tokens and keys, and who else can read them.

import Foundation
import WorkerSettings

enum SecretFiles {
    /// Whether every user may read it. A group may well be meant to: that is how secrets are mounted into containers.
    static func isOpenToOthers(_ path: String) -> Bool {
        var status = stat()
        // What is no file is said to be none where it is read.
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_mode & S_IROTH != 0
    }
}

extension Settings.Org {
    /// The files that hold its token or keys.
    var secretFiles: [String] {
        switch token {
        case .file(let path): [path]
        case .environment: []
        case .oauth(let credentials): credentials.keyFiles
        }
    }
}
