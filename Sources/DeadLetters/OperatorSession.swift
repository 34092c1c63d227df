// One operator at a time: the lock on the dead letters, and the connections that stand behind it.

public import AMQP
import AMQPMessage

/// Where dead letters are, and where what is done with them goes.
public struct DeadLetterPlace: Sendable {
    public var configuration: AMQPConfiguration
    public var deadLetterQueue: String
    public var replayQueue: String
    public var resultsQueue: String
    public var auditQueue: String
    public var confirmTimeout: Duration

    public init(
        configuration: AMQPConfiguration, deadLetterQueue: String, replayQueue: String, resultsQueue: String,
        auditQueue: String, confirmTimeout: Duration
    ) {
        self.configuration = configuration
        self.deadLetterQueue = deadLetterQueue
        self.replayQueue = replayQueue
        self.resultsQueue = resultsQueue
        self.auditQueue = auditQueue
        self.confirmTimeout = confirmTimeout
    }

    /// An exclusive queue, which the broker gives to one connection and deletes with it.
    var lock: String { deadLetterQueue + ".operator" }
    /// Holds one message, which says who has the lock; nobody else can look into an exclusive queue.
    var note: String { deadLetterQueue + ".operator.name" }
}

/// Why an operator cannot work.
public enum OperatorError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Somebody else does; these words say who, where they are known.
    case busy(String?)
    /// Asked to stop while somebody else does.
    case interrupted
    case missingQueue(String)
    /// A message was not taken, for this reason; what it was about is as it was before.
    case notPublished(String)
    /// It cannot be done with this dead letter.
    case refused(String)

    public var description: String {
        switch self {
        case .busy(let who): "somebody else is working on the dead letters: \(who ?? "another operator")"
        case .interrupted: "interrupted while somebody else was working on the dead letters; nothing was changed"
        case .missingQueue(let queue): "there is no queue '\(queue)'; run `route-worker topology declare`"
        case .notPublished(let why): why
        case .refused(let why): why
        }
    }
}

/// The dead letters, as long as they are this operator's alone.
///
/// Two who look at the same time would each see a part. The lock goes with the connection, so that nobody has to give it
/// back: not even who is killed.
public struct OperatorSession: Sendable {
    public let place: DeadLetterPlace
    public let deadLetters: HeldQueue
    private let publisher: AMQPPublisher

    /// Takes the lock, runs `body`, and gives the lock back.
    ///
    /// - Parameters:
    ///   - who: told to those who find the lock taken.
    ///   - waits: whether to wait for the lock.
    ///   - waiting: told once, when the wait begins, who has it.
    ///   - shouldStop: asked while it waits.
    /// - Throws: ``OperatorError``, ``AMQPError``, and what `body` throws.
    public static func with<Value>(
        _ place: DeadLetterPlace, who: String, waits: Bool = false, waiting: (OperatorError) -> Void = { _ in },
        shouldStop: () -> Bool = { false }, _ body: (OperatorSession) async throws -> Value
    ) async throws -> Value {
        try await AMQPAdmin.withConnection(place.configuration) { admin in
            guard try await admin.queue(place.deadLetterQueue) != nil else {
                throw OperatorError.missingQueue(place.deadLetterQueue)
            }
            try await takeLock(admin, place, waits: waits, waiting, shouldStop)
            let publisher = try AMQPPublisher(place.configuration)
            publisher.start()
            await leaveNote(who, admin, publisher, place)
            let session = OperatorSession(
                place: place, deadLetters: HeldQueue(admin, place.configuration, queue: place.deadLetterQueue),
                publisher: publisher)
            let result: Result<Value, any Error>
            do { result = .success(try await body(session)) } catch { result = .failure(error) }
            await publisher.close()
            _ = try? await admin.deleteQueue(place.note)
            return try result.get()
        }
    }

    private static func takeLock(
        _ admin: AMQPAdmin, _ place: DeadLetterPlace, waits: Bool, _ waiting: (OperatorError) -> Void,
        _ shouldStop: () -> Bool
    ) async throws {
        var hasTold = false
        while try await !admin.takeLock(place.lock) {
            let note = try? await admin.get(from: place.note, removing: false)
            let busy = OperatorError.busy(note.map { String(decoding: $0.message.body, as: UTF8.self) })
            guard waits else { throw busy }
            if !hasTold { waiting(busy) }
            hasTold = true
            if shouldStop() { throw OperatorError.interrupted }
            // The refusal of the next try closes this channel, on which the note is held and hidden from others.
            try await Task.sleep(for: .milliseconds(300))
        }
    }

    /// A courtesy: where it cannot be left, others learn less and nothing else changes.
    private static func leaveNote(
        _ who: String, _ admin: AMQPAdmin, _ publisher: AMQPPublisher, _ place: DeadLetterPlace
    ) async {
        let arguments: FieldTable = ["x-max-length": .int32(1), "x-expires": .int32(3_600_000)]
        guard (try? await admin.declareQueue(place.note, arguments: arguments)) != nil else { return }
        let message = Message(properties: MessageProperties(contentType: "text/plain"), body: Array(who.utf8))
        _ = await publisher.publish(OutgoingMessage(message, routingKey: place.note), timeout: .seconds(5))
    }

    // MARK: Publishing

    /// Publishes messages, mandatory where they are marked so, and tells of each why the broker does not have it.
    func publish(_ messages: [OutgoingMessage]) async -> [OperatorError?] {
        let outcomes = await publisher.publish(messages, timeout: place.confirmTimeout)
        return zip(messages, outcomes).map { message, outcome in
            switch outcome {
            case .confirmed: nil
            case .returned: .missingQueue(message.routingKey)
            case .nacked: .notPublished("queue '\(message.routingKey)' takes no more messages (is it full?)")
            case .failed(let error):
                .notPublished("the broker did not confirm a message for '\(message.routingKey)': \(error)")
            case .refused(let error):
                .notPublished("the broker refuses a message for '\(message.routingKey)': \(error)")
            }
        }
    }
}
