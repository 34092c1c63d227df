// PostgreSQL's binary forms of what the statements take and give (postgresql.org/docs/current/protocol.html).

/// A parameter in binary form.
struct PostgresValue {
    let bytes: [UInt8]

    init(_ value: Int64) {
        var bytes: [UInt8] = []
        bytes.append(bigEndian: value)
        self.bytes = bytes
    }

    init(_ value: [UInt8]) { bytes = value }

    init(_ values: [Int64?]) {
        var bytes = Self.beginArray(
            elementType: 20, count: values.count, hasNull: values.contains(nil), size: 8 * values.count)
        for value in values {
            // As length this stands for NULL.
            guard let value else {
                bytes.append(bigEndian: Int32(-1))
                continue
            }
            bytes.append(bigEndian: Int32(8))
            bytes.append(bigEndian: value)
        }
        self.bytes = bytes
    }

    init(_ values: [[UInt8]]) {
        var bytes = Self.beginArray(
            elementType: 17, count: values.count, hasNull: false, size: values.reduce(0) { $0 + $1.count })
        for value in values {
            bytes.append(bigEndian: Int32(value.count))
            bytes.append(contentsOf: value)
        }
        self.bytes = bytes
    }

    /// One dimension, counted from 1, or none for an empty array. Every element follows with its length before it.
    private static func beginArray(elementType: Int32, count: Int, hasNull: Bool, size: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(20 + 4 * count + size)
        bytes.append(bigEndian: Int32(count == 0 ? 0 : 1))
        bytes.append(bigEndian: Int32(hasNull ? 1 : 0))
        bytes.append(bigEndian: elementType)
        guard count > 0 else { return bytes }
        bytes.append(bigEndian: Int32(count))
        bytes.append(bigEndian: Int32(1))
        return bytes
    }
}

/// The rows of one statement, copied out of libpq.
struct PostgresRows {
    var rows: [[[UInt8]?]] = []

    func integer(_ row: Int, _ column: Int) -> Int64? {
        guard rows.indices.contains(row), rows[row].indices.contains(column), let bytes = rows[row][column],
            bytes.count == 8
        else { return nil }
        return bytes.reduce(0) { $0 << 8 | Int64($1) }
    }
}

extension [UInt8] {
    fileprivate mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }
}
