// One prepared statement of SQLite's C API, bound and stepped without conversions or allocations of GRDB's.

import GRDB
import GRDBSQLite

/// Borrows a statement from the connection's cache. Stays on the connection's queue, within one batch.
struct PreparedStatement {
    private let handle: OpaquePointer
    /// Keeps the handle alive: it is finalised with this.
    private let owner: Statement
    private let connection: OpaquePointer

    /// "The content will change in the near future, so SQLite must make its own copy" (sqlite3_destructor_type).
    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    init(_ sql: String, in database: Database) throws {
        guard let connection = database.sqliteConnection else {
            throw SQLiteFailure(code: .SQLITE_MISUSE, message: "the connection is closed")
        }
        owner = try database.cachedStatement(sql: sql)
        handle = owner.sqliteStatement
        self.connection = connection
    }

    // Binding fails only for an index out of range or a value of more than 10^9 bytes, which `step` then shows as a
    // missing value (NOT NULL); indices stand in this target alone.

    func bind(_ index: Int32, _ value: Int64) {
        sqlite3_bind_int64(handle, index, value)
    }

    func bind(_ index: Int32, _ value: Int64?) {
        if let value { bind(index, value) } else { sqlite3_bind_null(handle, index) }
    }

    func bind(_ index: Int32, _ value: [UInt8]?) {
        guard let value else {
            sqlite3_bind_null(handle, index)
            return
        }
        value.withUnsafeBytes { bytes in
            _ = sqlite3_bind_blob64(handle, index, bytes.baseAddress, UInt64(bytes.count), Self.transient)
        }
    }

    func bind(_ index: Int32, _ value: String) {
        var value = value
        value.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { text in
                _ = sqlite3_bind_text64(
                    handle, index, text.baseAddress, UInt64(text.count), Self.transient, UInt8(SQLITE_UTF8))
            }
        }
    }

    /// Steps to the next row; `false` at the end. Whoever stepped calls ``reset()`` when done with the row.
    func step() throws -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code:
            let failure = SQLiteFailure(
                code: ResultCode(rawValue: code), message: String(cString: sqlite3_errmsg(connection)))
            reset()
            throw failure
        }
    }

    /// Makes the statement ready to be bound and run again. Its code repeats the error that `step` threw.
    func reset() {
        sqlite3_reset(handle)
    }

    /// Runs a statement that has no rows.
    func run() throws {
        _ = try step()
        reset()
    }

    /// Rows that the last statement changed.
    var changes: Int { Int(sqlite3_changes(connection)) }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    func bytes(_ column: Int32) -> [UInt8] {
        // The pointer is taken before the length: taking it can convert the value.
        guard let start = sqlite3_column_blob(handle, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
    }

    func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }
}
