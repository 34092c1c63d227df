// What is wrong with a file, in the system's words.

import Foundation

/// Why a file could not be read or written: "No such file or directory".
///
/// Foundation says only that an operation could not be completed, and keeps the reason underneath.
func fileTrouble(_ error: any Error) -> String {
    guard let reason = (error as? CocoaError)?.underlying.map({ $0 as NSError }), reason.domain == NSPOSIXErrorDomain
    else { return error.localizedDescription }
    return String(cString: strerror(Int32(reason.code)))
}
