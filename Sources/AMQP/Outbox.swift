// Frames on their way out, as librabbitmq encodes them, several with one system call.
import CRabbitMQ
import Glibc

/// What is about to be written to a plain socket.
///
/// librabbitmq itself writes each message with three calls, one for each kind of frame; where the socket is its own,
/// encrypted one, there is no way past that. Belongs to the thread of its connection.
final class Outbox {
    /// Bytes that are gathered before they are written.
    private static let enough = 1 << 16
    /// How long a peer may take nothing at all.
    private static let patience: Int32 = 30_000

    /// Whether what is added waits for more, and for ``flush(to:)``.
    var isHeld = false

    private let frameMax: Int
    private let buffer: UnsafeMutableRawBufferPointer
    private var count = 0

    /// - Parameter frameMax: the largest frame that was agreed on, in bytes.
    init(frameMax: Int) {
        self.frameMax = frameMax
        // It holds `enough` at most whenever a frame is added.
        buffer = .allocate(byteCount: Self.enough + frameMax, alignment: 8)
    }

    deinit { buffer.deallocate() }

    /// Adds a method.
    ///
    /// - Parameter fields: those of its structure in amqp_framing.h.
    func add<Fields: BitwiseCopyable>(
        _ method: amqp_method_number_t, _ fields: inout Fields, on channel: UInt16, to descriptor: Int32
    ) throws(AMQPError) {
        try frame(AMQP_FRAME_METHOD, on: channel) { payload throws(AMQPError) in
            payload.storeBytes(of: method.bigEndian, as: UInt32.self)
            return 4 + (try Self.encoded(into: payload, from: 4) { amqp_encode_method(method, &fields, $0) })
        }
        try settle(descriptor)
    }

    /// Adds a message's properties and body, which follow the method.
    func add(
        _ properties: inout amqp_basic_properties_t, _ body: UnsafeRawBufferPointer, on channel: UInt16,
        to descriptor: Int32
    ) throws(AMQPError) {
        let basic = UInt16(AMQP_BASIC_CLASS)
        try frame(AMQP_FRAME_HEADER, on: channel) { payload throws(AMQPError) in
            payload.storeBytes(of: basic.bigEndian, as: UInt16.self)
            // What is called weight, and always zero.
            payload.storeBytes(of: 0, toByteOffset: 2, as: UInt16.self)
            payload.storeBytes(of: UInt64(body.count).bigEndian, toByteOffset: 4, as: UInt64.self)
            return 12
                + (try Self.encoded(into: payload, from: 12) { amqp_encode_properties(basic, &properties, $0) })
        }
        var rest = body[...]
        while !rest.isEmpty {
            if count > Self.enough { try flush(to: descriptor) }
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(frameMax - Self.overhead))
            try frame(AMQP_FRAME_BODY, on: channel) { payload throws(AMQPError) in
                payload.copyMemory(from: part)
                return part.count
            }
            rest = rest.dropFirst(part.count)
        }
        try settle(descriptor)
    }

    /// Writes everything. After an error the connection is lost.
    func flush(to descriptor: Int32) throws(AMQPError) {
        var written = 0
        while written < count {
            let rest = UnsafeRawBufferPointer(rebasing: buffer[written..<count])
            let result = send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            if result > 0 {
                written += result
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                if poll(&ready, 1, Self.patience) == 0 { throw .timeout("writing to the broker") }
            default: throw .connectionLost("the socket failed")
            }
        }
        count = 0
    }

    private func settle(_ descriptor: Int32) throws(AMQPError) {
        if !isHeld || count > Self.enough { try flush(to: descriptor) }
    }

    // MARK: Frames (AMQP 0-9-1 §2.3.5)

    /// Type, channel and size before the payload, and an octet behind it.
    private static let overhead = 8

    /// - Parameter write: puts a payload of at most `frameMax` less the overhead there, and returns its size.
    private func frame(
        _ type: Int32, on channel: UInt16, _ write: (UnsafeMutableRawBufferPointer) throws(AMQPError) -> Int
    ) throws(AMQPError) {
        let frame = UnsafeMutableRawBufferPointer(rebasing: buffer[count..<count + frameMax])
        let size = try write(UnsafeMutableRawBufferPointer(rebasing: frame[7..<frameMax - 1]))
        frame[0] = UInt8(type)
        frame.storeBytes(of: channel.bigEndian, toByteOffset: 1, as: UInt16.self)
        frame.storeBytes(of: UInt32(size).bigEndian, toByteOffset: 3, as: UInt32.self)
        frame[7 + size] = UInt8(AMQP_FRAME_END)
        count += Self.overhead + size
    }

    /// - Returns: how many bytes the library wrote.
    private static func encoded(
        into payload: UnsafeMutableRawBufferPointer, from offset: Int, _ encode: (amqp_bytes_t) -> Int32
    ) throws(AMQPError) -> Int {
        let room = UnsafeMutableRawBufferPointer(rebasing: payload[offset...])
        let size = encode(amqp_bytes_t(len: room.count, bytes: room.baseAddress))
        if size < 0 { throw .library(code: size, text: String(cString: amqp_error_string2(size))) }
        return Int(size)
    }
}
