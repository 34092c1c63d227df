// What leaves the worker for one delivery: answers, and where it takes one, a dead letter. Pure.

import AMQP
import AMQPMessage
import Logging
import RoutingContract
import WorkerLog

/// The messages that say how a delivery ended.
struct Announcement: Sendable {
    let result: CommandResult
    /// Must each be in a queue before the delivery may be acknowledged.
    let answers: [OutgoingMessage]
    /// The answer to a direct reply-to, of which nobody can confirm that it was read.
    let directReply: OutgoingMessage?
    /// Whether the outcome asks for a dead letter. The first delivery of a command places it, and every redelivery
    /// places it again, since nobody knows how far the one before came; a duplicate that the platform sent needs none.
    let needsDeadLetter: Bool
    let subject: AnswerSubject
    private let delivery: Delivery
    let isDuplicate: Bool

    /// How a valid command ended.
    init(of ending: Ending, for command: RouteCommand, _ delivery: Delivery, _ settings: PipelineSettings) {
        var subject = AnswerSubject(command)
        subject.replay = ending.replay
        self.init(ending.result, about: subject, isDuplicate: ending.duplicate, delivery, settings)
    }

    /// How a message ended that is no valid command.
    init(
        of invalid: InvalidCommand, _ delivery: Delivery, _ settings: PipelineSettings, receivedAt: Timestamp,
        now: Timestamp
    ) {
        let result = CommandResult.invalid(
            invalid, receivedAt: receivedAt, completedAt: now, worker: settings.worker)
        let subject = AnswerSubject(invalid, message: delivery.message)
        self.init(result, about: subject, isDuplicate: false, delivery, settings)
    }

    private init(
        _ result: CommandResult, about subject: AnswerSubject, isDuplicate: Bool, _ delivery: Delivery,
        _ settings: PipelineSettings
    ) {
        self.result = result
        self.subject = subject
        self.delivery = delivery
        self.isDuplicate = isDuplicate
        needsDeadLetter = result.needsDeadLetter && (!isDuplicate || delivery.earlierDeliveries > 0)

        let message = AnswerEncoder().encode(result, about: subject, duplicate: isDuplicate)
        let toResults = OutgoingMessage(message, routingKey: settings.answers.queue)
        switch subject.reply.replyTo {
        case .none:
            answers = [toResults]
            directReply = nil
        case .some(let address) where address.isDirectReplyTo:
            answers = settings.answers.copiesDirectReplies ? [toResults] : []
            // With `mandatory` the broker returns even what it delivers to a direct reply-to.
            directReply = OutgoingMessage(message, routingKey: address, mandatory: false)
        case .some(let queue):
            answers = [OutgoingMessage(message, routingKey: queue)]
            directReply = nil
        }
    }

    /// The dead letter: of the outcome, or of an answer that has nowhere to go.
    ///
    /// - Parameter unroutable: which answer has nowhere to go, and why.
    /// - Throws: ``UnencodableProperties`` when the original's properties leave no way to publish it again.
    func deadLetter(
        unroutable: String?, _ settings: PipelineSettings, now: Timestamp
    ) throws(UnencodableProperties) -> OutgoingMessage {
        var result = result
        if let unroutable {
            let why = result.error.map { "; the command itself: \($0.reason): \($0.message)" } ?? ""
            result.error = CommandError(
                code: result.error?.code, message: "the answer has nowhere to go (\(unroutable))\(why)",
                reason: AnswerReason.unroutable)
        }
        let origin = DeliveryOrigin(
            queue: delivery.queue, exchange: delivery.exchange, routingKey: delivery.routingKey)
        let message = try DeadLetterEncoder().encode(
            delivery.message, from: origin, about: subject, result: result, now: now)
        return OutgoingMessage(message, routingKey: settings.answers.deadLetterQueue)
    }

    /// What a log line says of it, in the order of the keys: never a body, never a token.
    ///
    /// - Parameters:
    ///   - error: what went wrong with announcing it, in place of the result's own error.
    ///   - obstacle: why the dead letter could not be published.
    func write(to line: inout LogLine, error: String? = nil, obstacle: String? = nil) {
        line.field(LogKey.attempts, result.attempts)
        if let code = result.error?.code { line.field(LogKey.code, code) }
        if let kind = subject.kind { line.field(LogKey.command, kind.rawValue) }
        if let conversation = subject.conversation { line.field(LogKey.conversation, conversation) }
        if isDuplicate { line.field(LogKey.duplicate, "true") }
        if let error = error ?? result.error?.message { line.field(LogKey.error, error) }
        line.field(LogKey.milliseconds, Int((result.completedAt - result.receivedAt).wholeMilliseconds))
        if let obstacle { line.field(LogKey.obstacle, obstacle) }
        if let org = subject.org { line.field(LogKey.org, org.description) }
        line.field(LogKey.queue, delivery.queue)
        if let error = result.error { line.field(LogKey.reason, error.reason) }
        if let request = subject.request { line.field(LogKey.requestID, request.description) }
        if let status = result.httpStatus { line.field(LogKey.status, status) }
        if let trace = subject.reply.trace.traceID { line.field(LogKey.trace, String(trace)) }
    }
}

extension RouteCommand {
    /// What a log line says of trouble on the way of a command.
    func metadata(_ error: some Error) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            LogKey.requestID: "\(key.request)", LogKey.org: "\(key.org)", LogKey.command: "\(key.kind.rawValue)",
            LogKey.conversation: "\(conversation)", LogKey.error: "\(error)",
        ]
        if let trace = reply.trace.traceID { metadata[LogKey.trace] = "\(trace)" }
        return metadata
    }
}

extension String {
    /// RabbitMQ's pseudo queue for answers without a queue of one's own.
    fileprivate var isDirectReplyTo: Bool { utf8.starts(with: "amq.rabbitmq.reply-to".utf8) }
}
