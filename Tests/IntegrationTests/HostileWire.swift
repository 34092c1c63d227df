// AMQP 0-9-1 by hand, to publish what no client would: the properties are whatever bytes a test makes up.

import AMQP
import Foundation
import TestSupport

/// A message whose properties are given as they stand on the wire.
struct RawMessage: Sendable {
    /// Property flags and property list (AMQP 0-9-1 §4.2.6.1).
    var properties: [UInt8]
    var body: [UInt8]
    var exchange: [UInt8] = []
    /// The commands queue where absent.
    var routingKey: [UInt8]?
}

/// Writes the pieces of properties.
enum Raw {
    static func short(_ bytes: [UInt8]) -> [UInt8] { [UInt8(bytes.count)] + bytes }
    static func short(_ text: String) -> [UInt8] { short(Array(text.utf8)) }
    static func long(_ bytes: [UInt8]) -> [UInt8] { integer(UInt32(bytes.count)) + bytes }
    static func integer(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian, Array.init) }
    /// A field of a table: its key, the letter of its type, and its value.
    static func field(_ key: [UInt8], _ type: Unicode.Scalar, _ value: [UInt8]) -> [UInt8] {
        short(key) + [UInt8(ascii: type)] + value
    }
    static func field(_ key: String, _ type: Unicode.Scalar, _ value: [UInt8]) -> [UInt8] {
        field(Array(key.utf8), type, value)
    }
    static func text(_ key: String, _ value: String) -> [UInt8] { field(key, "S", long(Array(value.utf8))) }

    /// `count` tables inside each other under empty keys, or arrays; as the value of a field.
    static func nested(_ count: Int, arrays: Bool) -> [UInt8] {
        // From the inside out, each a length before what it holds; built backwards, or it would take quadratic time.
        var reversed: [UInt8] = []
        for level in 0..<count {
            if level > 0 {
                reversed.append(UInt8(ascii: arrays ? "A" : "F"))
                if !arrays { reversed.append(0) }
            }
            reversed += integer(UInt32(reversed.count)).reversed()
        }
        return reversed.reversed()
    }

    /// Properties in the order of their flags.
    static func properties(_ present: [(Property, [UInt8])]) -> [UInt8] {
        var flags: UInt16 = 0
        for (property, _) in present { flags |= 1 << property.rawValue }
        return integer(flags) + present.flatMap { $0.1 }
    }

    /// The bit of its flag.
    enum Property: UInt16 {
        case contentType = 15
        case contentEncoding = 14
        case headers = 13
        case correlationID = 10
        case replyTo = 9
        case messageID = 7
        case type = 5
        case appID = 3
        case clusterID = 2
    }
}

/// Publishes raw messages, each on its own: confirmed, or refused by a broker that cannot read it.
final class RawPublisher {
    private let endpoint: AMQPEndpoint
    private let queue: String
    private var socket: Int32 = -1

    private init(_ endpoint: AMQPEndpoint, _ queue: String) {
        self.endpoint = endpoint
        self.queue = queue
    }

    deinit { if socket >= 0 { close(socket) } }

    /// Publishes all, one after another.
    ///
    /// - Returns: of each message, whether the broker took it; a broker closes the connection over one it cannot read.
    static func publish(_ messages: [RawMessage], to queue: String, at endpoint: AMQPEndpoint) async throws -> [Bool] {
        try await withCheckedThrowingContinuation { continuation in
            // Blocking reads have no place on the executor of the tests.
            Thread.detachNewThread {
                let publisher = RawPublisher(endpoint, queue)
                continuation.resume(with: Result { try messages.map(publisher.publish) })
            }
        }
    }

    /// The broker closed the connection.
    private struct Closed: Error {}

    private func publish(_ message: RawMessage) throws -> Bool {
        if socket < 0 { try connect() }
        do {
            try send(message)
            while true {
                let (type, channel, payload) = try frame()
                guard type == 1 else { continue }
                switch (channel, payload[1], payload[3]) {
                case (1, 60, 80): return true
                case (1, 60, 120): return false
                // The connection's close, and the channel's.
                case (0, 10, 50), (1, 20, 40): throw Closed()
                default: continue
                }
            }
        } catch is Closed {
            close(socket)
            socket = -1
            return false
        }
    }

    private func send(_ message: RawMessage) throws {
        var bytes: [UInt8] = []
        let key = message.routingKey ?? Array(queue.utf8)
        bytes += frame(1, 1, [0, 60, 0, 40, 0, 0] + Raw.short(message.exchange) + Raw.short(key) + [0])
        bytes += frame(2, 1, [0, 60, 0, 0] + Raw.integer(UInt64(message.body.count)) + message.properties)
        for start in stride(from: 0, to: message.body.count, by: frameMax - 8) {
            bytes += frame(3, 1, Array(message.body[start..<min(start + frameMax - 8, message.body.count)]))
        }
        try write(bytes)
    }

    // MARK: Connection

    private var frameMax = 4096

    private func connect() throws {
        socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var timeout = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var hints = addrinfo()
        hints.ai_family = AF_INET
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(endpoint.host, String(endpoint.port), &hints, &found) == 0, let address = found else {
            throw Closed()
        }
        defer { freeaddrinfo(found) }
        guard Foundation.connect(socket, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0 else {
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .ECONNREFUSED)
        }
        try write(Array("AMQP".utf8) + [0, 0, 9, 1])
        _ = try method(10, 10)
        let response = Raw.long([0] + Array(endpoint.user.utf8) + [0] + Array(endpoint.password.utf8))
        try call(0, [0, 10, 0, 11] + Raw.integer(UInt32(0)) + Raw.short("PLAIN") + response + Raw.short("en_US"))
        let tune = try method(10, 30)
        frameMax = tune[6..<10].reduce(0) { $0 << 8 | Int($1) }
        try call(0, [0, 10, 0, 31] + tune[4..<10] + [0, 0])
        try call(0, [0, 10, 0, 40] + Raw.short(endpoint.vhost) + [0, 0])
        _ = try method(10, 41)
        try call(1, [0, 20, 0, 10, 0])
        _ = try method(20, 11)
        try call(1, [0, 85, 0, 10, 0])
        _ = try method(85, 11)
    }

    private func call(_ channel: UInt16, _ payload: [UInt8]) throws { try write(frame(1, channel, payload)) }

    private func method(_ classID: UInt8, _ methodID: UInt8) throws -> [UInt8] {
        let (_, _, payload) = try frame()
        guard payload.count >= 4, payload[1] == classID, payload[3] == methodID else {
            throw HostileFailure(description: "expected method \(classID).\(methodID), got \(payload.prefix(64))")
        }
        return payload
    }

    private func frame(_ type: UInt8, _ channel: UInt16, _ payload: [UInt8]) -> [UInt8] {
        [type] + Raw.integer(channel) + Raw.long(payload) + [0xCE]
    }

    private func frame() throws -> (type: UInt8, channel: UInt16, payload: [UInt8]) {
        let head = try read(7)
        let size = head[3..<7].reduce(0) { $0 << 8 | Int($1) }
        let payload = try read(size + 1)
        return (head[0], UInt16(head[1]) << 8 | UInt16(head[2]), payload.dropLast())
    }

    private func read(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = bytes.withUnsafeMutableBytes { recv(socket, $0.baseAddress! + filled, count - filled, 0) }
            if got < 0, errno == EAGAIN { throw HostileFailure(description: "the broker did not answer in time") }
            guard got > 0 else { throw Closed() }
            filled += got
        }
        return bytes
    }

    private func write(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Foundation.send(socket, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Closed() }
            sent += count
        }
    }
}
