// AMQP 0-9-1 by hand, over a socket.
import AMQP
import Glibc

/// One end of a connection. What it waits for, it waits for by blocking, for a minute at most.
struct RawConnection: ~Copyable {
    private let socket: Int32

    /// - Parameter socket: is closed with the connection.
    init(_ socket: Int32) {
        self.socket = socket
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    static func connected(to endpoint: AMQPEndpoint) throws -> RawConnection {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(endpoint.port).bigEndian
        guard inet_pton(AF_INET, endpoint.host, &address.sin_addr) == 1 else {
            throw Missing("a numeric broker address")
        }
        let connection = RawConnection(Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(connection.socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw Missing("a connection to the broker") }
        return connection
    }

    deinit { close(socket) }

    // MARK: Writing

    static func short(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }

    static func long(_ bytes: [UInt8]) -> [UInt8] { big(UInt32(bytes.count)) + bytes }

    static func big<T: FixedWidthInteger>(_ number: T) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    /// - Parameter payload: begins with the numbers of class and method.
    func sendMethod(_ channel: UInt16, _ payload: [UInt8]) throws { try sendFrame(1, channel, payload) }

    func sendFrame(_ type: UInt8, _ channel: UInt16, _ payload: [UInt8]) throws {
        try send([type] + Self.big(channel) + Self.big(UInt32(payload.count)) + payload + [0xCE])
    }

    func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw Missing("an open connection") }
            rest = rest.dropFirst(count)
        }
    }

    // MARK: Reading

    func receive(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: count)
        while bytes.count < count {
            let got = recv(socket, &buffer, count - bytes.count, 0)
            guard got > 0 else { throw Missing("an open connection") }
            bytes += buffer.prefix(got)
        }
        return bytes
    }

    /// The next frame that is no heartbeat.
    func nextFrame() throws -> (type: UInt8, channel: UInt16, payload: [UInt8]) {
        while true {
            let header = try receive(7)
            let size = header[3...].reduce(0) { $0 << 8 | Int($1) }
            let payload = try receive(size + 1).dropLast()
            if header[0] != 8 { return (header[0], UInt16(header[1]) << 8 | UInt16(header[2]), Array(payload)) }
        }
    }

    /// - Returns: the channel on which the method comes.
    /// - Throws: when it is another one that comes.
    @discardableResult
    func expectMethod(_ classID: UInt8, _ method: UInt8) throws -> UInt16 {
        let (type, channel, payload) = try nextFrame()
        guard type == 1, payload[1] == classID, payload[3] == method else {
            throw Missing(
                "method \(classID).\(method), got \(payload.prefix(4)) \(String(decoding: payload, as: UTF8.self))")
        }
        return channel
    }
}
