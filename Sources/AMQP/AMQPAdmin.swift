// Sets up and looks at queues, exchanges and bindings, over a connection for as long as a scope lasts.
public import AMQPMessage
import CRabbitMQ

/// A connection for topology and for looking. Calls run one after another on a thread of its own.
///
/// A call that the broker refuses costs the channel, not the connection: the next call gets a new channel, and messages
/// taken with `removing: false` go back to their queue.
public final class AMQPAdmin: Sendable {
    let worker: AdminWorker

    private init(_ worker: AdminWorker) {
        self.worker = worker
    }

    /// Connects to the first endpoint that can be connected to, runs `body`, and disconnects.
    /// - Throws: what `body` throws, or the ``AMQPError`` of the last endpoint when none can be connected to.
    @discardableResult
    public static func withConnection<Result>(
        _ configuration: AMQPConfiguration, _ body: (AMQPAdmin) async throws -> Result
    ) async throws -> Result {
        let worker = try AdminWorker()
        try await worker.start(configuration)
        do {
            let result = try await body(AMQPAdmin(worker))
            await worker.stop()
            return result
        } catch {
            await worker.stop()
            throw error
        }
    }

    // MARK: Queues

    /// What the broker says of a queue.
    public struct Queue: Sendable, Hashable {
        public var name: String
        /// Messages ready for delivery; those delivered and not yet acked do not count.
        public var messages: Int
        public var consumers: Int
    }

    /// Creates a queue, or checks that the existing one is the same.
    /// - Throws: ``AMQPError/channelClosed(code:text:)`` with 406 when it exists with other properties.
    @discardableResult
    public func declareQueue(
        _ name: String, durable: Bool = true, exclusive: Bool = false, autoDelete: Bool = false,
        arguments: FieldTable = FieldTable()
    ) async throws(AMQPError) -> Queue {
        try await worker.run { (connection, arena) throws(Failure) in
            let bytes = try arena.name(name)
            let table = try arena.checkedTable(arguments)
            let reply = try connection.call(on: AdminWorker.channel, "declaring queue '\(name)'") {
                amqp_queue_declare(
                    $0, AdminWorker.channel, bytes, 0, durable ? 1 : 0, exclusive ? 1 : 0, autoDelete ? 1 : 0, table)
            }
            return Queue(reply.pointee)
        }
    }

    /// Looks at a queue; `nil` when there is none. Needs no permission but to see the virtual host.
    ///
    /// - Throws: ``AMQPError/channelClosed(code:text:)`` with 404 when its node is down.
    public func queue(_ name: String) async throws(AMQPError) -> Queue? {
        try await worker.runUnlessMissing { (connection, arena) throws(Failure) in
            let bytes = try arena.name(name)
            let reply = try connection.call(on: AdminWorker.channel, "looking at queue '\(name)'") {
                amqp_queue_declare($0, AdminWorker.channel, bytes, 1, 0, 0, 0, amqp_empty_table)
            }
            return Queue(reply.pointee)
        }
    }

    /// Deletes a queue; one that does not exist is no error.
    /// - Returns: the messages deleted with it.
    @discardableResult
    public func deleteQueue(
        _ name: String, ifUnused: Bool = false, ifEmpty: Bool = false
    ) async throws(AMQPError) -> Int {
        try await worker.run { (connection, arena) throws(Failure) in
            let bytes = try arena.name(name)
            let reply = try connection.call(on: AdminWorker.channel, "deleting queue '\(name)'") {
                amqp_queue_delete($0, AdminWorker.channel, bytes, ifUnused ? 1 : 0, ifEmpty ? 1 : 0)
            }
            return Int(reply.pointee.message_count)
        }
    }

    /// Drops the ready messages of a queue.
    /// - Returns: how many.
    @discardableResult
    public func purgeQueue(_ name: String) async throws(AMQPError) -> Int {
        try await worker.run { (connection, arena) throws(Failure) in
            let bytes = try arena.name(name)
            let reply = try connection.call(on: AdminWorker.channel, "purging queue '\(name)'") {
                amqp_queue_purge($0, AdminWorker.channel, bytes)
            }
            return Int(reply.pointee.message_count)
        }
    }

    /// Tries once to take a lock: an exclusive queue of this name, which only one connection can have, and which the broker
    /// deletes with its connection.
    /// - Returns: whether it is this connection's now.
    public func takeLock(_ name: String) async throws(AMQPError) -> Bool {
        do {
            // Classic whatever the virtual host's default is: no other type can be exclusive.
            try await declareQueue(
                name, durable: false, exclusive: true, arguments: ["x-queue-type": .string("classic")])
            return true
        } catch {
            guard case .channelClosed(405, _) = error else { throw error }
            return false
        }
    }

    // MARK: Exchanges and bindings

    /// Creates an exchange (`direct`, `fanout`, `topic`, `headers`, or a plug-in's type), or checks that the existing
    /// one is the same.
    public func declareExchange(
        _ name: String, type: String, durable: Bool = true, autoDelete: Bool = false,
        arguments: FieldTable = FieldTable()
    ) async throws(AMQPError) {
        try await worker.run { (connection, arena) throws(Failure) in
            let bytes = try arena.name(name)
            let kind = try arena.name(type)
            let table = try arena.checkedTable(arguments)
            _ = try connection.call(on: AdminWorker.channel, "declaring exchange '\(name)'") {
                amqp_exchange_declare(
                    $0, AdminWorker.channel, bytes, kind, 0, durable ? 1 : 0, autoDelete ? 1 : 0, 0, table)
            }
        }
    }

    /// Whether there is such an exchange.
    public func hasExchange(_ name: String) async throws(AMQPError) -> Bool {
        let found: Void? = try await worker.runUnlessMissing { (connection, arena) throws(Failure) in
            let bytes = try arena.name(name)
            _ = try connection.call(on: AdminWorker.channel, "looking at exchange '\(name)'") {
                amqp_exchange_declare($0, AdminWorker.channel, bytes, amqp_empty_bytes, 1, 0, 0, 0, amqp_empty_table)
            }
        }
        return found != nil
    }

    /// Deletes an exchange; one that does not exist is no error.
    public func deleteExchange(_ name: String) async throws(AMQPError) {
        try await worker.run { (connection, arena) throws(Failure) in
            let bytes = try arena.name(name)
            _ = try connection.call(on: AdminWorker.channel, "deleting exchange '\(name)'") {
                amqp_exchange_delete($0, AdminWorker.channel, bytes, 0)
            }
        }
    }

    /// Binds a queue to an exchange; binding again changes nothing.
    public func bind(
        queue: String, to exchange: String, routingKey: String, arguments: FieldTable = FieldTable()
    ) async throws(AMQPError) {
        try await worker.run { (connection, arena) throws(Failure) in
            let names = (try arena.name(queue), try arena.name(exchange), try arena.name(routingKey))
            let table = try arena.checkedTable(arguments)
            _ = try connection.call(on: AdminWorker.channel, "binding queue '\(queue)' to '\(exchange)'") {
                amqp_queue_bind($0, AdminWorker.channel, names.0, names.1, names.2, table)
            }
        }
    }

    /// Removes a binding; one that does not exist is no error.
    public func unbind(
        queue: String, from exchange: String, routingKey: String, arguments: FieldTable = FieldTable()
    ) async throws(AMQPError) {
        try await worker.run { (connection, arena) throws(Failure) in
            let names = (try arena.name(queue), try arena.name(exchange), try arena.name(routingKey))
            let table = try arena.checkedTable(arguments)
            _ = try connection.call(on: AdminWorker.channel, "unbinding queue '\(queue)' from '\(exchange)'") {
                amqp_queue_unbind($0, AdminWorker.channel, names.0, names.1, names.2, table)
            }
        }
    }

    // MARK: Messages

    /// A message taken from a queue by ``AMQPAdmin/get(from:removing:)``.
    public struct Got: Sendable, Hashable {
        public var exchange: String
        public var routingKey: String
        public var redelivered: Bool
        public var message: Message
        /// See ``Delivery/isComplete``.
        public var isComplete: Bool
        /// Messages still ready in the queue.
        public var remaining: Int
    }

    /// Takes the next message of a queue (`basic.get`); `nil` when it is empty. For tools and tests, not for work.
    /// - Parameter removing: otherwise the message is held until this connection closes and then goes back.
    public func get(from queue: String, removing: Bool = true) async throws(AMQPError) -> Got? {
        try await worker.run { (connection, arena) throws(Failure) -> Got? in
            let bytes = try arena.name(queue)
            guard let content = try connection.get(from: bytes, on: AdminWorker.channel),
                case .got(let tag, let redelivered, let exchange, let routingKey, let remaining) = content.method
            else { return nil }
            if removing {
                do throws(AMQPError) {
                    try connection.send(.ack(tag: tag, multiple: false), on: AdminWorker.channel)
                } catch {
                    throw .connection(error)
                }
            }
            return Got(
                exchange: exchange, routingKey: routingKey, redelivered: redelivered, message: content.message,
                isComplete: content.isComplete, remaining: Int(remaining))
        }
    }
}

extension AMQPAdmin.Queue {
    fileprivate init(_ reply: amqp_queue_declare_ok_t) {
        self.init(
            name: FrameReader.text(reply.queue), messages: Int(reply.message_count),
            consumers: Int(reply.consumer_count))
    }
}

extension Arena {
    fileprivate func name(_ text: String) throws(Failure) -> amqp_bytes_t {
        do {
            try WireSize.checkShort(text, "name")
        } catch {
            throw .argument(error)
        }
        return bytes(text)
    }

    fileprivate func checkedTable(_ table: FieldTable) throws(Failure) -> amqp_table_t {
        do {
            _ = try WireSize.table(table)
        } catch {
            throw .argument(error)
        }
        return self.table(table)
    }
}
