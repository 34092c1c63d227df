// What a worker published, collected as it comes, and awaited without sleeping.

import AMQP
import AMQPMessage
import CommandClient
import Foundation
import RoutingContract
import TestSupport

/// Answers and dead letters in the order in which they came.
///
/// Unchecked, since the lock guards all of its state; `Mutex` would need no such word, but gives ThreadSanitizer false
/// alarms.
final class Inbox: @unchecked Sendable {
    struct Contents {
        var answers: [Answer] = []
        var deadLetters: [DeadLetter] = []

        /// The commands that have no answer.
        func withoutAnswer(_ commands: [Message]) -> [String] {
            let answered = Set(answers.map(\.correlationID))
            return commands.map(\.properties.correlationID).filter { !answered.contains($0) }.map { $0 ?? "" }
        }

        /// Those of these `app_id`s that have no dead letter.
        func withoutDeadLetter(_ ids: [String]) -> [String] {
            let buried = Set(deadLetters.map(\.properties.appID))
            return ids.filter { !buried.contains($0) }
        }

        func answer(_ correlationID: String?) -> Answer? { answers.first { $0.correlationID == correlationID } }
        /// The dead letter of the message with this `app_id`, which dead letters keep.
        func deadLetter(app id: String) -> DeadLetter? { deadLetters.first { $0.properties.appID == id } }
    }

    private let lock = NSLock()
    private let deadLetterQueue: String
    private var contents = Contents()
    private var settle: ([Settlement]) -> Void = { _ in }

    init(deadLetters: String) { deadLetterQueue = deadLetters }

    func acknowledge(with settle: @escaping @Sendable ([Settlement]) -> Void) { lock.withLock { self.settle = settle } }

    /// Their bodies may be large.
    func forgetDeadLetters() { lock.withLock { contents.deadLetters = [] } }

    var soFar: Contents { lock.withLock { contents } }

    func take(_ event: ConsumerEvent) {
        guard case .deliveries(let deliveries) = event else { return }
        lock.withLock {
            for delivery in deliveries {
                if delivery.queue == deadLetterQueue {
                    contents.deadLetters.append(DeadLetter(delivery))
                } else if let answer = Answer(delivery.message) {
                    contents.answers.append(answer)
                }
            }
            settle(deliveries.map { .ack($0.receipt) })
        }
    }

    /// Waits until nothing is missing, and returns what has come.
    ///
    /// - Parameter missing: names what has not come yet.
    @discardableResult
    func wait(_ missing: (Contents) -> [String]) async throws -> Contents {
        try await eventually("\(missing(soFar).prefix(20))", within: .seconds(120)) {
            let came = soFar
            return missing(came).isEmpty ? came : nil
        }
    }
}

/// A message of the dead-letter queue.
struct DeadLetter {
    let message: Message
    /// False when not even this client can read all of it.
    let isComplete: Bool

    init(_ delivery: Delivery) {
        message = delivery.message
        isComplete = delivery.isComplete
    }

    var properties: MessageProperties { message.properties }
    var body: [UInt8] { message.body }
    /// The broker put it there, not the worker.
    var isBrokers: Bool { properties.headers["x-death"] != nil }

    subscript(header: String) -> String? {
        guard case .string(let text) = properties.headers[header] else { return nil }
        return text
    }

    var original: FieldTable {
        guard case .table(let table) = properties.headers["Original"] else { return FieldTable() }
        return table
    }
}
