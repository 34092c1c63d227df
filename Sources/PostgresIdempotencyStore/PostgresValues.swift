// PostgreSQL's binary forms of what the statements take and give (postgresql.org/docs/current/protocol.html).

/// A parameter in binary form.
struct PostgresValue {
    let bytes: [UInt8]

    init(_ value: Int64) { bytes = value.bigEndianBytes }

    init(_ value: [UInt8]) { bytes = value }

    init(_ values: [Int64?]) {
        bytes = Self.array(elementType: 20, values.map { $0?.bigEndianBytes })
    }

    init(_ values: [[UInt8]]) {
        bytes = Self.array(elementType: 17, values)
    }

    /// One dimension, counted from 1; -1 as length stands for NULL.
    private static func array(elementType: Int32, _ elements: [[UInt8]?]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(20 + elements.reduce(0) { $0 + 4 + ($1?.count ?? 0) })
        let hasNull: Int32 = elements.contains { $0 == nil } ? 1 : 0
        for field in [elements.isEmpty ? 0 : 1, hasNull, elementType] { bytes += field.bigEndianBytes }
        if elements.isEmpty { return bytes }
        for field in [Int32(elements.count), 1] { bytes += field.bigEndianBytes }
        for element in elements {
            guard let element else {
                bytes += Int32(-1).bigEndianBytes
                continue
            }
            bytes += Int32(element.count).bigEndianBytes
            bytes += element
        }
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

extension FixedWidthInteger {
    fileprivate var bigEndianBytes: [UInt8] { withUnsafeBytes(of: bigEndian) { Array($0) } }
}
