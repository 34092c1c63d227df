// Publishes bytes that no client library would write: AMQP 0-9-1 by hand, over a socket.
import AMQP
import Glibc

/// One connection that publishes messages with hand-made properties.
struct RawPublisher: ~Copyable {
    private let socket: Int32

    init(_ endpoint: AMQPEndpoint) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(endpoint.port).bigEndian
        guard inet_pton(AF_INET, endpoint.host, &address.sin_addr) == 1 else {
            throw Missing("a numeric broker address")
        }
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw Missing("a connection to the broker") }
        try send(Array("AMQP".utf8) + [0, 0, 9, 1])
        try expectMethod(10, 10)
        let login = [0] + Array(endpoint.user.utf8) + [0] + Array(endpoint.password.utf8)
        try sendMethod(0, [0, 10, 0, 11, 0, 0, 0, 0] + short("PLAIN") + long(login) + short("en_US"))
        try expectMethod(10, 30)
        try sendMethod(0, [0, 10, 0, 31, 0, 8, 0, 2, 0, 0, 0, 0])
        try sendMethod(0, [0, 10, 0, 40] + short(endpoint.vhost) + [0, 0])
        try expectMethod(10, 41)
        try sendMethod(1, [0, 20, 0, 10, 0])
        try expectMethod(20, 11)
    }

    deinit { close(socket) }

    /// Publishes a message with these property flags and this property list to a queue.
    func publish(to queue: String, properties: [UInt8], body: [UInt8]) throws {
        try sendMethod(1, [0, 60, 0, 40, 0, 0, 0] + short(queue) + [0])
        try sendFrame(2, 1, [0, 60, 0, 0] + big(UInt64(body.count)) + properties)
        try sendFrame(3, 1, body)
    }

    /// Waits until the broker has read everything; throws when it closed the channel instead.
    func finish() throws {
        try sendMethod(1, [0, 20, 0, 40, 0, 200, 0, 0, 0, 0, 0])
        try expectMethod(20, 41)
    }

    private func short(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }

    private func long(_ bytes: [UInt8]) -> [UInt8] { big(UInt32(bytes.count)) + bytes }

    private func big<T: FixedWidthInteger>(_ number: T) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private func sendMethod(_ channel: UInt16, _ payload: [UInt8]) throws { try sendFrame(1, channel, payload) }

    private func sendFrame(_ type: UInt8, _ channel: UInt16, _ payload: [UInt8]) throws {
        try send([type] + big(channel) + big(UInt32(payload.count)) + payload + [0xCE])
    }

    private func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw Missing("an open connection") }
            rest = rest.dropFirst(count)
        }
    }

    private func receive(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: count)
        while bytes.count < count {
            let got = recv(socket, &buffer, count - bytes.count, 0)
            guard got > 0 else { throw Missing("an open connection") }
            bytes += buffer.prefix(got)
        }
        return bytes
    }

    private func expectMethod(_ classID: UInt8, _ method: UInt8) throws {
        while true {
            let header = try receive(7)
            let size = header[3...].reduce(0) { $0 << 8 | Int($1) }
            let payload = try receive(size + 1)
            if header[0] == 8 { continue }
            guard header[0] == 1, payload[1] == classID, payload[3] == method else {
                throw Missing(
                    "method \(classID).\(method), got \(payload.prefix(4)) \(String(decoding: payload, as: UTF8.self))")
            }
            return
        }
    }
}
