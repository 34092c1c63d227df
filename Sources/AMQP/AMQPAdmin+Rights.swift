// What the broker is and what this user may do there, found out without changing anything.
import AMQPMessage
import CRabbitMQ

extension AMQPAdmin {
    /// The broker's version as it presents itself, such as `3.10.8`.
    public func brokerVersion() async throws(AMQPError) -> String? {
        try await worker.run { (connection, _) throws(Failure) in connection.serverProperty("version") }
    }

    /// Whether this user may publish to an exchange: sends it a message that no queue is meant for.
    ///
    /// - Parameter exchange: the default exchange where it is empty.
    public func mayPublish(to exchange: String = "") async throws(AMQPError) -> Bool {
        try await allowed { (connection, arena) throws(Failure) in
            let message = OutgoingMessage(
                Message(body: []), exchange: exchange, routingKey: "route-worker: no queue has this name",
                mandatory: false)
            do throws(AMQPError) {
                try connection.publish(message, on: AdminWorker.channel, arena)
            } catch {
                throw .connection(error)
            }
            // A refusal comes in place of the answer to whatever is asked next.
            _ = try connection.call(on: AdminWorker.channel, "trying to publish") {
                amqp_basic_qos($0, AdminWorker.channel, 0, 0, 0)
            }
        }
    }

    /// Whether this user may consume from a queue of this name, be it there or not. Asks with an argument that no queue
    /// takes, which the broker looks at after the right.
    public func mayConsume(from queue: String) async throws(AMQPError) -> Bool {
        try await allowed { (connection, arena) throws(Failure) in
            let bytes = arena.bytes(queue)
            let table = arena.table(["x-priority": .string("none")])
            _ = try connection.call(on: AdminWorker.channel, "trying to consume from queue '\(queue)'") {
                amqp_basic_consume($0, AdminWorker.channel, bytes, amqp_empty_bytes, 0, 0, 0, table)
            }
            // Should a broker take it after all: what it delivers goes back with the channel.
            try connection.closeChannel(AdminWorker.channel)
            throw .channel(.channelClosed(code: 406, text: "closed by this side"))
        }
    }

    /// Whether this user may declare a queue of this name, be it there or not. Asks with an argument that no queue takes,
    /// which the broker looks at after the right.
    public func mayConfigure(queue: String) async throws(AMQPError) -> Bool {
        try await allowed { (connection, arena) throws(Failure) in
            let bytes = arena.bytes(queue)
            let table = arena.table(["x-max-length": .int32(-1)])
            _ = try connection.call(on: AdminWorker.channel, "trying to declare queue '\(queue)'") {
                amqp_queue_declare($0, AdminWorker.channel, bytes, 0, 1, 0, 0, table)
            }
        }
    }

    /// False for 403 alone: other refusals are of what was asked, not of who asks.
    private func allowed(
        _ call: @escaping @Sendable (borrowing Connection, borrowing Arena) throws(Failure) -> Void
    ) async throws(AMQPError) -> Bool {
        do {
            try await worker.run(call)
            return true
        } catch {
            switch error {
            case .accessRefused: return false
            case .channelClosed: return true
            default: throw error
            }
        }
    }
}
