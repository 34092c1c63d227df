// What the client writes by itself is what librabbitmq would have written, however the socket takes it.
import AMQPMessage
import CRabbitMQ
import Glibc
import RoutingContract
import Testing

@testable import AMQP

@Suite(.timeLimit(.minutes(1))) struct OutboxTests {
    /// Two ends of a connection, neither of which blocks.
    private final class Ends: Sendable {
        let writing: Int32
        let reading: Int32

        init() {
            var ends: [Int32] = [0, 0]
            precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
            (writing, reading) = (ends[0], ends[1])
            // Room for a whole message, since the library would wait for more.
            var room: Int32 = 1 << 20
            for end in ends {
                _ = fcntl(end, F_SETFL, O_NONBLOCK)
                setsockopt(end, SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout.size(ofValue: room)))
            }
        }

        deinit {
            close(writing)
            close(reading)
        }

        /// Whether more can be written.
        var hasRoom: Bool {
            var ready = pollfd(fd: writing, events: Int16(POLLOUT), revents: 0)
            return poll(&ready, 1, 0) == 1
        }

        /// Waits for this many bytes, or takes what is there.
        func read(_ wanted: Int? = nil) -> [UInt8] {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while wanted.map({ bytes.count < $0 }) ?? true {
                let count = Glibc.read(reading, &buffer, buffer.count)
                if count > 0 {
                    bytes += buffer[..<count]
                } else if wanted == nil {
                    break
                } else {
                    var ready = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
                    poll(&ready, 1, 1000)
                }
            }
            return bytes
        }
    }

    /// The library's, as long as none is agreed on.
    private static let frameMax = 65_536

    private func add(_ outgoing: OutgoingMessage, to outbox: Outbox, _ descriptor: Int32) throws {
        let arena = Arena()
        var method = amqp_basic_publish_t(
            ticket: 0, exchange: arena.bytes(outgoing.exchange), routing_key: arena.bytes(outgoing.routingKey),
            mandatory: outgoing.mandatory ? 1 : 0, immediate: 0)
        var properties = arena.properties(outgoing.message.properties)
        try outbox.add(AMQP_BASIC_PUBLISH_METHOD, &method, on: 7, to: descriptor)
        try outgoing.message.body.withUnsafeBytes { body in
            Result { () throws(AMQPError) in try outbox.add(&properties, body, on: 7, to: descriptor) }
        }.get()
    }

    /// What the library writes of the same message.
    private func byLibrary(_ outgoing: OutgoingMessage) -> [UInt8] {
        let ends = Ends()
        let state = amqp_new_connection()!
        defer { amqp_destroy_connection(state) }
        // The library closes what it is given.
        amqp_tcp_socket_set_sockfd(amqp_tcp_socket_new(state)!, dup(ends.writing))
        let arena = Arena()
        var properties = arena.properties(outgoing.message.properties)
        let status = outgoing.message.body.withUnsafeBytes { body in
            amqp_basic_publish(
                state, 7, arena.bytes(outgoing.exchange), arena.bytes(outgoing.routingKey),
                outgoing.mandatory ? 1 : 0, 0, &properties,
                amqp_bytes_t(len: body.count, bytes: UnsafeMutableRawPointer(mutating: body.baseAddress)))
        }
        #expect(status == 0)
        return ends.read()
    }

    @Test func messagesAreWrittenAsTheLibraryWritesThem() throws {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let ends = Ends()
        let outbox = Outbox(frameMax: Self.frameMax)
        let sizes = [0, 1, 300, Self.frameMax - 8, Self.frameMax - 7, 2 * Self.frameMax]
        for _ in 0..<300 {
            var properties = MessageProperties(headers: random.table(depth: 2))
            if Bool.random(using: &random) { properties.contentType = "application/json" }
            if Bool.random(using: &random) {
                properties.messageID = "m-\(UInt64.random(in: .min ... .max, using: &random))"
            }
            if Bool.random(using: &random) { properties.priority = 3 }
            if Bool.random(using: &random) { properties.timestamp = 1_764_000_000 }
            let outgoing = OutgoingMessage(
                Message(
                    properties: properties,
                    body: (0..<sizes.randomElement(using: &random)!).map { UInt8(truncatingIfNeeded: $0) }),
                exchange: Bool.random(using: &random) ? "" : "events", routingKey: "routing.results",
                mandatory: Bool.random(using: &random))
            guard (try? WireSize.of(outgoing, frameMax: Self.frameMax)) != nil else { continue }
            try add(outgoing, to: outbox, ends.writing)
            #expect(ends.read() == byLibrary(outgoing))
        }
    }

    @Test func whatIsHeldLeavesTogetherAndInOrder() throws {
        let ends = Ends()
        let outbox = Outbox(frameMax: Self.frameMax)
        outbox.isHeld = true
        for tag in 1...3 as ClosedRange<UInt64> {
            var ack = amqp_basic_ack_t(delivery_tag: tag, multiple: 0)
            try outbox.add(AMQP_BASIC_ACK_METHOD, &ack, on: 1, to: ends.writing)
        }
        #expect(ends.read().isEmpty)
        try outbox.flush(to: ends.writing)
        let frame: [UInt8] = [1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0]
        #expect(ends.read() == (1...3).flatMap { frame + [$0, 0, 0xCE] })
        try outbox.flush(to: ends.writing)
        #expect(ends.read().isEmpty)
    }

    @Test func aSocketThatTakesLittleAtATimeGetsEverything() async throws {
        let ends = Ends()
        let body = (0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let outgoing = OutgoingMessage(Message(body: body), exchange: "", routingKey: "q", mandatory: false)
        let size = try WireSize.of(outgoing, frameMax: Self.frameMax)
        async let received = Task.detached { ends.read(size) }.value
        let outbox = Outbox(frameMax: Self.frameMax)
        outbox.isHeld = true
        try add(outgoing, to: outbox, ends.writing)
        try outbox.flush(to: ends.writing)
        let bytes = await received
        #expect(bytes.count == size)
        // The bodies of the frames, put together.
        var parts: [UInt8] = []
        var position = 0
        while position < bytes.count {
            let length = bytes[position + 3..<position + 7].reduce(0) { $0 << 8 | Int($1) }
            if bytes[position] == 3 { parts += bytes[position + 7..<position + 7 + length] }
            position += length + 8
        }
        #expect(parts == body)
    }

    /// What the watchdog does to a peer that takes nothing any more.
    @Test func aWriteThatIsStuckEndsWhenItsSocketIsShutDown() async throws {
        let ends = Ends()
        let body = [UInt8](repeating: 7, count: 4_000_000)
        let outgoing = OutgoingMessage(Message(body: body), exchange: "", routingKey: "q", mandatory: false)
        async let writing = Task.detached {
            #expect(throws: AMQPError.connectionLost("the socket failed")) {
                try add(outgoing, to: Outbox(frameMax: Self.frameMax), ends.writing)
            }
        }.value
        while ends.hasRoom { await Task.yield() }
        shutdown(ends.writing, Int32(SHUT_RDWR))
        _ = await writing
    }

    @Test func aPeerThatHasGoneIsAnErrorAndNoSignal() throws {
        let ends = Ends()
        shutdown(ends.reading, Int32(SHUT_RDWR))
        let outbox = Outbox(frameMax: Self.frameMax)
        var ack = amqp_basic_ack_t(delivery_tag: 1, multiple: 0)
        #expect(throws: AMQPError.connectionLost("the socket failed")) {
            try outbox.add(AMQP_BASIC_ACK_METHOD, &ack, on: 1, to: ends.writing)
        }
    }
}
