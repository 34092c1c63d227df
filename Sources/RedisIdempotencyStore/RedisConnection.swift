// One connection through hiredis: commands out as one pipeline, replies in, every wait bounded.

import CHiredis
import Glibc
import IdempotencyStore

enum RedisReply: Equatable {
    case none
    case integer(Int64)
    case bytes([UInt8])
    case array([RedisReply])
    case error(String)
}

/// Commands as they go over the wire (RESP: redis.io/docs/reference/protocol-spec).
struct RedisPipeline {
    private(set) var bytes: [UInt8] = []
    private(set) var count = 0

    mutating func append(_ name: StaticString, _ arguments: [[UInt8]]) {
        count += 1
        header("*", arguments.count + 1)
        header("$", name.utf8CodeUnitCount)
        name.withUTF8Buffer { bytes.append(contentsOf: $0) }
        endLine()
        for argument in arguments {
            header("$", argument.count)
            bytes.append(contentsOf: argument)
            endLine()
        }
    }

    mutating func append(_ name: StaticString, _ arguments: String...) {
        append(name, arguments.map { Array($0.utf8) })
    }

    private mutating func header(_ sign: Unicode.Scalar, _ number: Int) {
        bytes.append(UInt8(ascii: sign))
        bytes.append(contentsOf: String(number).utf8)
        endLine()
    }

    private mutating func endLine() {
        bytes.append(UInt8(ascii: "\r"))
        bytes.append(UInt8(ascii: "\n"))
    }
}

/// Owns a context of hiredis. Belongs to one thread.
final class RedisConnection {
    private let context: UnsafeMutablePointer<redisContext>
    /// `nil` without TLS.
    private let tunnel: RedisTLSTunnel?

    /// Connects, without logging in. Looking up the host's name has no limit but the resolver's own. Over TLS it returns
    /// before the connection stands; the first commands wait for that.
    init(_ target: RedisTarget, deadline: ContinuousClock.Instant, silence: Duration) throws(RedisFailure) {
        let made: UnsafeMutablePointer<redisContext>?
        if target.usesTLS {
            let tunnel = try RedisTLSTunnel(to: target, deadline: deadline)
            made = redisConnectFd(tunnel.descriptor)
            self.tunnel = tunnel
        } else {
            let left = max(.milliseconds(1), deadline - .now).wholeMilliseconds
            let limit = timeval(tv_sec: Int(left / 1000), tv_usec: Int(left % 1000 * 1000))
            made = redisConnectWithTimeout(target.host, Int32(target.port), limit)
            tunnel = nil
        }
        guard let context = made else { throw .lost("out of memory") }
        guard context.pointee.err == 0 else {
            let why = context.pointee.message
            redisFree(context)
            throw .lost("cannot connect: \(why)")
        }
        self.context = context
        if tunnel == nil {
            _ = chiredis_bound_silence(context.pointee.fd, UInt32(clamping: silence.wholeMilliseconds))
        }
        guard chiredis_make_nonblocking(context) == 0 else { throw .lost("cannot make the socket non-blocking") }
    }

    deinit { redisFree(context) }

    /// Sends the commands and returns one reply for each.
    /// - Throws: `lost` and `late`, after which it is unknown which commands were run. An error of the server's stands
    ///   among the replies.
    func run(_ pipeline: RedisPipeline, deadline: ContinuousClock.Instant) throws(RedisFailure) -> [RedisReply] {
        let isTaken = pipeline.bytes.withUnsafeBytes { bytes in
            redisAppendFormattedCommand(context, bytes.bindMemory(to: CChar.self).baseAddress, bytes.count)
        }
        try check(isTaken)
        var replies: [RedisReply] = []
        replies.reserveCapacity(pipeline.count)
        var isSent = false
        while true {
            if !isSent {
                var done: Int32 = 0
                try check(redisBufferWrite(context, &done))
                isSent = done != 0
            }
            while replies.count < pipeline.count, let reply = try nextReply() { replies.append(reply) }
            if replies.count == pipeline.count { return replies }
            // Reading goes on while writing: a server stops reading when its own answers find no way out.
            guard try wait(for: isSent ? POLLIN : POLLIN | POLLOUT, deadline) else { continue }
            try check(redisBufferRead(context))
        }
    }

    private func nextReply() throws(RedisFailure) -> RedisReply? {
        var reply: UnsafeMutableRawPointer?
        try check(redisGetReplyFromReader(context, &reply))
        guard let reply else { return nil }
        defer { freeReplyObject(reply) }
        return RedisReply(reply.assumingMemoryBound(to: redisReply.self))
    }

    /// Whether there is something to read, or the connection has ended.
    private func wait(for events: Int32, _ deadline: ContinuousClock.Instant) throws(RedisFailure) -> Bool {
        let left = (deadline - .now).wholeMilliseconds
        guard left > 0 else {
            // A Redis without TLS takes the greeting for the beginning of a command, and waits for its end.
            guard tunnel?.isOpen != false else {
                throw .lost("the TLS handshake did not end in time; does it speak TLS on this port?")
            }
            throw .late
        }
        var descriptor = pollfd(fd: context.pointee.fd, events: Int16(events), revents: 0)
        _ = poll(&descriptor, 1, Int32(clamping: left))
        return Int32(descriptor.revents) & ~POLLOUT != 0
    }

    private func check(_ status: Int32) throws(RedisFailure) {
        guard status != REDIS_OK else { return }
        throw tunnel?.failure ?? .lost("the connection was lost: \(context.pointee.message)")
    }
}

extension redisContext {
    fileprivate var message: String {
        withUnsafeBytes(of: errstr) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

extension RedisReply {
    /// Nesting is bounded by hiredis' own reader.
    fileprivate init(_ reply: UnsafePointer<redisReply>) {
        switch reply.pointee.type {
        case REDIS_REPLY_NIL: self = .none
        case REDIS_REPLY_INTEGER: self = .integer(reply.pointee.integer)
        case REDIS_REPLY_ARRAY:
            self = .array(
                (0..<reply.pointee.elements).map { chiredis_element(reply, $0).map { RedisReply($0) } ?? .none })
        case REDIS_REPLY_ERROR: self = .error(String(decoding: Self.text(reply), as: UTF8.self))
        default: self = .bytes(Self.text(reply))
        }
    }

    private static func text(_ reply: UnsafePointer<redisReply>) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: reply.pointee.str, count: Int(reply.pointee.len)))
    }
}
