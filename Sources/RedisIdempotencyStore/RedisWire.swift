// Commands and replies as they go over the wire (RESP 2: redis.io/docs/latest/develop/reference/protocol-spec). Pure.

import NIOCore

enum RedisReply: Equatable, Sendable {
    case none
    case integer(Int64)
    case bytes([UInt8])
    case array([RedisReply])
    case error(String)

    /// What stands under a key; `nil` for nothing, or what is no string.
    var value: [UInt8]? {
        guard case .bytes(let bytes) = self else { return nil }
        return bytes
    }
}

/// Commands that are sent together.
struct RedisPipeline {
    private(set) var bytes: [UInt8] = []
    private(set) var count = 0
    private var scratch: [UInt8] = []

    /// Begins a command; as many arguments as said must follow by ``argument(_:)``.
    mutating func command(_ name: StaticString, arguments: Int) {
        count += 1
        header("*", arguments + 1)
        header("$", name.utf8CodeUnitCount)
        bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        endLine()
    }

    mutating func argument(_ value: [UInt8]) {
        header("$", value.count)
        bytes.append(contentsOf: value)
        endLine()
    }

    mutating func argument(_ prefix: [UInt8], _ rest: [UInt8]) {
        header("$", prefix.count + rest.count)
        bytes.append(contentsOf: prefix)
        bytes.append(contentsOf: rest)
        endLine()
    }

    mutating func argument(_ number: Int) {
        argument { $0.append(decimal: Int64(number)) }
    }

    /// What `write` appends.
    mutating func argument(_ write: (inout [UInt8]) -> Void) {
        scratch.removeAll(keepingCapacity: true)
        write(&scratch)
        argument(scratch)
    }

    mutating func append(_ name: StaticString, _ arguments: String...) {
        command(name, arguments: arguments.count)
        for text in arguments { argument(Array(text.utf8)) }
    }

    private mutating func header(_ sign: Unicode.Scalar, _ number: Int) {
        bytes.append(UInt8(ascii: sign))
        bytes.append(decimal: Int64(number))
        endLine()
    }

    private mutating func endLine() {
        bytes.append(UInt8(ascii: "\r"))
        bytes.append(UInt8(ascii: "\n"))
    }
}

extension [UInt8] {
    mutating func append(decimal number: Int64) {
        if number < 0 { append(UInt8(ascii: "-")) }
        let start = count
        var rest = number.magnitude
        repeat {
            append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        self[start...].reverse()
    }
}

/// Puts replies together from bytes as they arrive.
struct RedisReader {
    /// What no reply of Redis to this store's commands looks like.
    struct Violation: Error {}

    /// This store's replies nest two deep.
    private static let maximumDepth = 4
    /// Redis' own limit for one string (`proto-max-bulk-len`).
    private static let maximumLength = 512 * 1024 * 1024

    private var bytes: [UInt8] = []
    /// How far they are read.
    private var position = 0

    mutating func append(_ more: ByteBuffer) { bytes.append(contentsOf: more.readableBytesView) }

    /// The next reply that has come in whole.
    mutating func next() throws(Violation) -> RedisReply? {
        let start = position
        guard let reply = try read(depth: 0) else {
            position = start
            return nil
        }
        if position == bytes.count { (bytes, position) = ([], 0) }
        return reply
    }

    private mutating func read(depth: Int) throws(Violation) -> RedisReply? {
        guard let line = try readLine() else { return nil }
        guard !line.isEmpty else { throw Violation() }
        let rest = line.dropFirst()
        switch bytes[line.lowerBound] {
        case UInt8(ascii: ":"):
            return .integer(try number(rest))
        case UInt8(ascii: "+"):
            return .bytes(Array(bytes[rest]))
        case UInt8(ascii: "-"):
            return .error(String(decoding: bytes[rest], as: UTF8.self))
        case UInt8(ascii: "$"):
            guard let length = try length(rest) else { return RedisReply.none }
            let end = position + length
            guard bytes.count >= end + 2 else { return nil }
            guard bytes[end] == UInt8(ascii: "\r"), bytes[end + 1] == UInt8(ascii: "\n") else { throw Violation() }
            defer { position = end + 2 }
            return .bytes(Array(bytes[position..<end]))
        case UInt8(ascii: "*"):
            guard let count = try length(rest) else { return RedisReply.none }
            guard depth < Self.maximumDepth else { throw Violation() }
            // An element takes three bytes at least, so that a count alone reserves nothing.
            guard bytes.count - position >= 3 * count else { return nil }
            var elements: [RedisReply] = []
            elements.reserveCapacity(count)
            for _ in 0..<count {
                guard let element = try read(depth: depth + 1) else { return nil }
                elements.append(element)
            }
            return .array(elements)
        default:
            throw Violation()
        }
    }

    /// Where the next line stands, without its end.
    private mutating func readLine() throws(Violation) -> Range<Int>? {
        guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\r")), end + 1 < bytes.count else { return nil }
        guard bytes[end + 1] == UInt8(ascii: "\n") else { throw Violation() }
        defer { position = end + 2 }
        return position..<end
    }

    /// `nil` for -1, which stands for no value.
    private func length(_ digits: Range<Int>) throws(Violation) -> Int? {
        let number = try number(digits)
        if number == -1 { return nil }
        guard (0...Int64(Self.maximumLength)).contains(number) else { throw Violation() }
        return Int(number)
    }

    private func number(_ digits: Range<Int>) throws(Violation) -> Int64 {
        let isNegative = !digits.isEmpty && bytes[digits.lowerBound] == UInt8(ascii: "-")
        let digits = isNegative ? digits.dropFirst() : digits
        guard (1...18).contains(digits.count) else { throw Violation() }
        var number: Int64 = 0
        for digit in bytes[digits] {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { throw Violation() }
            number = 10 * number + Int64(digit - UInt8(ascii: "0"))
        }
        return isNegative ? -number : number
    }
}
