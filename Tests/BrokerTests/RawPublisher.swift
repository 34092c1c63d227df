// Publishes bytes that no client library would write.
import AMQP

/// One connection that publishes messages with hand-made properties.
struct RawPublisher: ~Copyable {
    private let connection: RawConnection

    init(_ endpoint: AMQPEndpoint) throws {
        let connection = try RawConnection.connected(to: endpoint)
        try connection.send(Array("AMQP".utf8) + [0, 0, 9, 1])
        try connection.expectMethod(10, 10)
        let login = [0] + Array(endpoint.user.utf8) + [0] + Array(endpoint.password.utf8)
        try connection.sendMethod(
            0,
            [0, 10, 0, 11, 0, 0, 0, 0] + RawConnection.short("PLAIN") + RawConnection.long(login)
                + RawConnection.short("en_US"))
        try connection.expectMethod(10, 30)
        try connection.sendMethod(0, [0, 10, 0, 31, 0, 8, 0, 2, 0, 0, 0, 0])
        try connection.sendMethod(0, [0, 10, 0, 40] + RawConnection.short(endpoint.vhost) + [0, 0])
        try connection.expectMethod(10, 41)
        try connection.sendMethod(1, [0, 20, 0, 10, 0])
        try connection.expectMethod(20, 11)
        self.connection = connection
    }

    /// Publishes a message with these property flags and this property list to a queue.
    func publish(to queue: String, properties: [UInt8], body: [UInt8]) throws {
        try connection.sendMethod(1, [0, 60, 0, 40, 0, 0, 0] + RawConnection.short(queue) + [0])
        try connection.sendFrame(2, 1, [0, 60, 0, 0] + RawConnection.big(UInt64(body.count)) + properties)
        try connection.sendFrame(3, 1, body)
    }

    /// Waits until the broker has read everything; throws when it closed the channel instead.
    func finish() throws {
        try connection.sendMethod(1, [0, 20, 0, 40, 0, 200, 0, 0, 0, 0, 0])
        try connection.expectMethod(20, 41)
    }
}
