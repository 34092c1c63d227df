// What SQLite's result codes mean for a caller.

import GRDB
import IdempotencyStore

/// A call of SQLite's that failed.
struct SQLiteFailure: Error {
    var code: ResultCode
    var message: String
}

/// A row holds what this version cannot read: a matter of the one operation that met it.
struct UnreadableRow: Error {
    var problem: StoreError
}

extension StoreError {
    /// - Parameter error: a ``SQLiteFailure``, an error of GRDB's, or one that is a ``StoreError`` already.
    init(sqlite error: any Error) {
        switch error {
        case let error as StoreError: self = error
        case let error as SQLiteFailure: self.init(code: error.code, message: error.message)
        case let error as DatabaseError:
            self.init(code: error.extendedResultCode, message: error.message ?? "no message")
        default: self = .unavailable(String(describing: error))
        }
    }

    private init(code: ResultCode, message: String) {
        let text = "SQLite says \"\(message)\" (\(code.rawValue))"
        switch code.primaryResultCode {
        case .SQLITE_FULL:
            self = .full("\(text): free space on its disk")
        case .SQLITE_CORRUPT:
            self = .unusable(
                "\(text): the database is damaged; stop the workers, move it away with its -wal and -shm files and "
                    + "start again, or restore it with sqlite3's .recover")
        case .SQLITE_NOTADB:
            self = .unusable("\(text): the file is no SQLite database; name another one in the store's URL")
        case .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
            self = .unusable(
                "\(text): let the worker's user write the file and its folder, on a disk mounted for writing")
        case .SQLITE_CANTOPEN:
            self = .unusable("\(text): the file and its folder must exist and be readable by the worker's user")
        case .SQLITE_ERROR, .SQLITE_SCHEMA, .SQLITE_MISMATCH, .SQLITE_CONSTRAINT:
            self = .unusable("\(text): the tables are not as this version made them; was the file changed by hand?")
        default:
            // Busy, locked, I/O errors, out of memory, interrupted: later is worth a try.
            self = .unavailable(text)
        }
    }
}
