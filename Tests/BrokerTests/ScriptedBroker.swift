// A broker that says what a test tells it to, frame by frame, at moments that a real one cannot be brought to choose.
import Glibc
import TestSupport

/// Lets clients log in, and leaves the rest to the test.
final class ScriptedBroker {
    let url: String
    private let listener: Int32

    init() throws {
        let (listener, port) = try FreePort.bound()
        self.listener = listener
        url = "amqp://127.0.0.1:\(port)?heartbeat=0"
        guard listen(listener, 1) == 0 else { throw Missing("a port to listen on") }
    }

    deinit { close(listener) }

    /// Waits for a client.
    func accept() throws -> RawConnection {
        let client = RawConnection(Glibc.accept(listener, nil, nil))
        _ = try client.receive(8)
        try client.sendMethod(
            0,
            [0, 10, 0, 10, 0, 9] + RawConnection.long([]) + RawConnection.long(Array("PLAIN".utf8))
                + RawConnection.long(Array("en_US".utf8)))
        try client.expectMethod(10, 11)
        // At most 2047 channels, and frames of 128 KiB.
        try client.sendMethod(0, [0, 10, 0, 30, 7, 0xFF, 0, 2, 0, 0, 0, 0])
        try client.expectMethod(10, 31)
        try client.expectMethod(10, 40)
        try client.sendMethod(0, [0, 10, 0, 41, 0])
        return client
    }
}

/// What a broker says to those who have logged in.
extension RawConnection {
    /// Lets a consumer open a channel and consume a queue.
    /// - Returns: the channel.
    func letConsume() throws -> UInt16 {
        let channel = try letOpenChannel()
        try expectMethod(60, 10)
        try sendMethod(channel, [0, 60, 0, 11])
        try expectMethod(60, 20)
        try sendMethod(channel, [0, 60, 0, 21] + Self.short("tag"))
        return channel
    }

    /// Lets a publisher open a channel.
    /// - Returns: the channel.
    func letPublish() throws -> UInt16 {
        let channel = try letOpenChannel()
        try expectMethod(85, 10)
        try sendMethod(channel, [0, 85, 0, 11])
        return channel
    }

    private func letOpenChannel() throws -> UInt16 {
        let channel = try expectMethod(20, 10)
        try sendMethod(channel, [0, 20, 0, 11, 0, 0, 0, 0])
        return channel
    }

    /// Delivers a message of one byte, the tag, which is its delivery tag as well.
    func deliver(_ tag: UInt8, properties: [UInt8] = [0, 0], on channel: UInt16) throws {
        let delivery = Self.short("tag") + Self.big(UInt64(tag)) + [0] + Self.short("") + Self.short("queue")
        try sendMethod(channel, [0, 60, 0, 60] + delivery)
        try sendFrame(2, channel, [0, 60, 0, 0] + Self.big(UInt64(1)) + properties)
        try sendFrame(3, channel, [tag])
    }

    /// Waits for a message with a body of one frame.
    func expectPublish() throws {
        try expectMethod(60, 40)
        for type: UInt8 in [2, 3] {
            guard try nextFrame().type == type else { throw Missing("a frame of type \(type)") }
        }
    }

    func ack(_ sequence: UInt64, on channel: UInt16) throws {
        try sendMethod(channel, [0, 60, 0, 80] + Self.big(sequence) + [0])
    }

    func nack(_ sequence: UInt64, on channel: UInt16) throws {
        try sendMethod(channel, [0, 60, 0, 120] + Self.big(sequence) + [0])
    }

    func closeChannel(_ channel: UInt16, code: UInt16) throws {
        try sendMethod(channel, [0, 20, 0, 40] + Self.big(code) + Self.short("scripted") + [0, 60, 0, 80])
    }

    func confirmChannelClose(_ channel: UInt16) throws { try sendMethod(channel, [0, 20, 0, 41]) }
}
