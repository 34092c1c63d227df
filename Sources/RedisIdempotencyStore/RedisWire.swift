// Commands and replies as they go over the wire (RESP 2: redis.io/docs/latest/develop/reference/protocol-spec). Pure.

import NIOCore

enum RedisReply: Equatable, Sendable {
    case none
    case integer(Int64)
    case bytes([UInt8])
    case array([RedisReply])
    case error(String)
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
        append(digits: number.magnitude)
    }

    private mutating func append(digits number: UInt64) {
        if number >= 10 { append(digits: number / 10) }
        append(UInt8(ascii: "0") + UInt8(number % 10))
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

    private var bytes = ByteBuffer()

    mutating func append(_ more: ByteBuffer) {
        var more = more
        if bytes.readableBytes == 0 { bytes = more } else { bytes.writeBuffer(&more) }
    }

    /// The next reply that has come in whole.
    mutating func next() throws(Violation) -> RedisReply? {
        let start = bytes.readerIndex
        guard let reply = try read(depth: 0) else {
            bytes.moveReaderIndex(to: start)
            return nil
        }
        if bytes.readableBytes == 0 { bytes = ByteBuffer() }
        return reply
    }

    private mutating func read(depth: Int) throws(Violation) -> RedisReply? {
        guard let line = try readLine() else { return nil }
        guard let sign = line.first else { throw Violation() }
        let rest = line.dropFirst()
        switch sign {
        case UInt8(ascii: ":"):
            return .integer(try Self.number(rest))
        case UInt8(ascii: "+"):
            return .bytes(Array(rest))
        case UInt8(ascii: "-"):
            return .error(String(decoding: rest, as: UTF8.self))
        case UInt8(ascii: "$"):
            guard let length = try Self.length(rest) else { return RedisReply.none }
            guard bytes.readableBytes >= length + 2, let body = bytes.readBytes(length: length) else { return nil }
            guard bytes.readInteger(as: UInt16.self) == 0x0D0A else { throw Violation() }
            return .bytes(body)
        case UInt8(ascii: "*"):
            guard let count = try Self.length(rest) else { return RedisReply.none }
            guard depth < Self.maximumDepth else { throw Violation() }
            // An element takes three bytes at least, so that a count alone reserves nothing.
            guard bytes.readableBytes >= 3 * count else { return nil }
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

    private mutating func readLine() throws(Violation) -> ByteBufferView? {
        let view = bytes.readableBytesView
        guard let end = view.firstIndex(of: UInt8(ascii: "\r")), end + 1 < view.endIndex else { return nil }
        guard view[end + 1] == UInt8(ascii: "\n") else { throw Violation() }
        bytes.moveReaderIndex(to: end + 2)
        return view[view.startIndex..<end]
    }

    /// `nil` for -1, which stands for no value.
    private static func length(_ digits: ByteBufferView) throws(Violation) -> Int? {
        let number = try number(digits)
        if number == -1 { return nil }
        guard (0...Int64(maximumLength)).contains(number) else { throw Violation() }
        return Int(number)
    }

    private static func number(_ digits: ByteBufferView) throws(Violation) -> Int64 {
        let isNegative = digits.first == UInt8(ascii: "-")
        let digits = isNegative ? digits.dropFirst() : digits
        guard (1...18).contains(digits.count) else { throw Violation() }
        var number: Int64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { throw Violation() }
            number = 10 * number + Int64(digit - UInt8(ascii: "0"))
        }
        return isNegative ? -number : number
    }
}
