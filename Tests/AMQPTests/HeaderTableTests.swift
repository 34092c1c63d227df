// Header tables: what librabbitmq writes is read back the same, and no bytes from outside trap.
import AMQPMessage
import CRabbitMQ
import RoutingContract
import Testing

@testable import AMQP

@Suite struct HeaderTableTests {
    /// Flags of headers alone, then the table.
    private func read(_ table: [UInt8]) -> DecodedProperties {
        ([0x20, 0x00] + table).withUnsafeBytes { DecodedProperties($0) }
    }

    /// Written by the library.
    private func encoded(_ table: FieldTable) throws -> [UInt8] {
        let size = try WireSize.table(table)
        var bytes = [UInt8](repeating: 0, count: size)
        let arena = Arena()
        var source = arena.table(table)
        var offset = 0
        let status = bytes.withUnsafeMutableBytes { buffer in
            amqp_encode_table(amqp_bytes_t(len: buffer.count, bytes: buffer.baseAddress), &source, &offset)
        }
        #expect(status == 0)
        // The measure is exact, which the check against frame_max relies on.
        #expect(offset == size)
        return bytes
    }

    private func nested(_ depth: Int) -> FieldTable {
        var table: FieldTable = ["bottom": .int32(1)]
        for level in 1..<depth { table = level % 3 == 0 ? ["a": .array([.table(table)])] : ["t": .table(table)] }
        return table
    }

    @Test func randomTablesComeBack() throws {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            let table = random.table(depth: 0)
            let decoded = read(try encoded(table))
            #expect(decoded.isComplete)
            // By its description, since a NaN is not equal to itself.
            #expect("\(decoded.properties.headers)" == "\(table)")
        }
    }

    @Test func valuesNestedTooDeepAreLeftOut() throws {
        var levels: [UInt8] = []
        for _ in 0..<20_000 {
            // A table of one field with an empty name that holds the table before.
            let inner = levels.isEmpty ? [0, 0, 0, 0] : levels
            let size = inner.count + 2
            levels = [UInt8(size >> 24 & 255), UInt8(size >> 16 & 255), UInt8(size >> 8 & 255), UInt8(size & 255), 0]
            levels += [UInt8(ascii: "F")] + inner
        }
        let decoded = read(levels)
        #expect(!decoded.isComplete)
        var depth = 0
        var table = decoded.properties.headers
        while case .table(let inner)? = table[""] {
            depth += 1
            table = inner
        }
        #expect(depth == TableLimits.depth - 1)
        #expect(table[""] == .void)
    }

    @Test func depthIsBoundedWhenWriting() throws {
        #expect(throws: AMQPError.self) { try WireSize.table(nested(TableLimits.depth + 1)) }
        var table: FieldTable = [:]
        for _ in 1..<TableLimits.depth { table = ["t": .table(table)] }
        let decoded = read(try encoded(table))
        #expect(decoded.isComplete && decoded.properties.headers == table)
        #expect(throws: AMQPError.self) { try WireSize.table(["t": .table(table)]) }
    }

    @Test func malformedTextIsKeptOrTold() {
        // Value: kept as bytes.
        let value = read([0, 0, 0, 9, 1, UInt8(ascii: "k"), UInt8(ascii: "S"), 0, 0, 0, 2, 0xFF, 0xFE])
        #expect(value.isComplete && value.properties.headers["k"] == .malformedString([0xFF, 0xFE]))
        // Key: repaired, and told.
        let key = read([0, 0, 0, 3, 1, 0xFF, UInt8(ascii: "V")])
        #expect(!key.isComplete && key.properties.headers.fields.first?.key == "\u{FFFD}")
    }

    @Test func everyPropertyIsRead() {
        var bytes: [UInt8] = [0xFF, 0xFC]
        for text in ["ct", "ce"] { bytes += [2] + Array(text.utf8) }
        bytes += [0, 0, 0, 0, 2, 9]
        for text in ["co", "re", "ex", "id"] { bytes += [2] + Array(text.utf8) }
        bytes += [0, 0, 0, 0, 0, 0, 1, 0]
        for text in ["ty", "us", "ap", "cl"] { bytes += [2] + Array(text.utf8) }
        let expected = MessageProperties(
            contentType: "ct", contentEncoding: "ce", deliveryMode: 2, priority: 9, correlationID: "co", replyTo: "re",
            expiration: "ex", messageID: "id", timestamp: 256, type: "ty", userID: "us", appID: "ap", clusterID: "cl")
        let decoded = bytes.withUnsafeBytes { DecodedProperties($0) }
        #expect(decoded.isComplete && decoded.properties == expected)
        for count in 0..<bytes.count {
            #expect(!bytes.prefix(count).withUnsafeBytes { DecodedProperties($0) }.isComplete)
        }
    }

    @Test func mutatedBytesNeverTrap() throws {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        for _ in 0..<300 {
            var bytes = try encoded(random.table(depth: 0))
            for _ in 0..<20 {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                _ = read(bytes)
            }
        }
    }

    @Test func messagesAreMeasuredBeforeTheyAreSent() throws {
        func size(_ change: (inout OutgoingMessage) -> Void) throws -> Int {
            var outgoing = OutgoingMessage(Message(body: [1, 2, 3]), exchange: "e", routingKey: "k")
            change(&outgoing)
            return try WireSize.of(outgoing, frameMax: 4096)
        }
        // Method 8 + 4 + 2 + 2 + 2 + 1, header 22, body 3 + 8.
        #expect(try size { _ in } == 52)
        #expect(try size { $0.routingKey = String(repeating: "k", count: 255) } == 52 + 254)
        #expect(throws: AMQPError.self) { try size { $0.routingKey = String(repeating: "k", count: 256) } }
        #expect(throws: AMQPError.self) { try size { $0.exchange = String(repeating: "é", count: 128) } }
        #expect(throws: AMQPError.self) {
            try size { $0.message.properties.correlationID = String(repeating: "c", count: 256) }
        }
        #expect(throws: AMQPError.self) {
            try size { $0.message.properties.headers = [String(repeating: "h", count: 256): .void] }
        }
        // 22 of the frame, 4 + 1 + 1 + 5 of the table.
        #expect(throws: Never.self) {
            try size { $0.message.properties.headers = ["h": .bytes(Array(repeating: 0, count: 4096 - 33))] }
        }
        #expect(throws: AMQPError.self) {
            try size { $0.message.properties.headers = ["h": .bytes(Array(repeating: 0, count: 4096 - 32))] }
        }
    }
}

extension SeededGenerator {
    fileprivate mutating func text() -> String {
        String((0..<Int.random(in: 0...8, using: &self)).map { _ in "aé😀 \u{0}".randomElement(using: &self) ?? "a" })
    }

    mutating func table(depth: Int) -> FieldTable {
        FieldTable((0..<Int.random(in: 0...6, using: &self)).map { _ in FieldTable.Field(text(), value(depth: depth)) })
    }

    private mutating func value(depth: Int) -> FieldValue {
        switch Int.random(in: 0..<(depth < 5 ? 19 : 17), using: &self) {
        case 0: .void
        case 1: .boolean(Bool.random(using: &self))
        case 2: .int8(Int8(truncatingIfNeeded: next()))
        case 3: .uint8(UInt8(truncatingIfNeeded: next()))
        case 4: .int16(Int16(truncatingIfNeeded: next()))
        case 5: .uint16(UInt16(truncatingIfNeeded: next()))
        case 6: .int32(Int32(truncatingIfNeeded: next()))
        case 7: .uint32(UInt32(truncatingIfNeeded: next()))
        case 8: .int64(Int64(truncatingIfNeeded: next()))
        case 9: .uint64(next())
        case 10: .float(Float(bitPattern: UInt32(truncatingIfNeeded: next())))
        case 11: .double(Double(bitPattern: next()))
        case 12: .decimal(scale: UInt8(truncatingIfNeeded: next()), value: UInt32(truncatingIfNeeded: next()))
        case 13: .string(text())
        case 14: .malformedString([0xFF] + Array(text().utf8))
        case 15: .bytes(Array(text().utf8))
        case 16: .timestamp(next())
        case 17: .array((0..<Int.random(in: 0...4, using: &self)).map { _ in value(depth: depth + 1) })
        default: .table(table(depth: depth + 1))
        }
    }
}
