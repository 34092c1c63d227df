// Closes an unknown outcome: what an operator found out is recorded, answered, and noted in the trail.

import AMQP
import AMQPMessage
public import IdempotencyStore
public import RoutingContract

/// What an operator found out about a command whose effect nobody knew.
public enum Resolution: String, Sendable, Hashable, CaseIterable {
    /// It took effect.
    case succeeded
    /// No attempt of it took effect.
    case failed

    /// The reason of a result that says that nothing took effect.
    public static let failedReason = "resolved-failed"

    public var outcome: Outcome {
        switch self {
        case .succeeded: .succeeded
        case .failed: .exhausted
        }
    }

    /// - Parameter why: the operator's words; the platform reads them where it failed.
    func result(for letter: DeadLetter, why: String, by: String, now: Timestamp) -> CommandResult {
        let error: CommandError? =
            switch self {
            case .succeeded: nil
            case .failed: CommandError(message: why, reason: Self.failedReason)
            }
        return CommandResult(
            outcome: outcome, error: error, attempts: letter.attempts ?? 0, receivedAt: letter.receivedAt ?? now,
            completedAt: now, worker: by)
    }
}

/// Resolves dead letters: claim, record, answer, trail. Killed in between, it can be run again.
public struct Resolver: Sendable {
    private let session: OperatorSession
    private let store: any IdempotencyStore
    private let decoder: CommandDecoder
    private let queue: QueueDefaults
    private let lease: Duration
    private let by: String
    private let why: String

    /// - Parameters:
    ///   - decoder: with the rules of the workers.
    ///   - queue: what the replay queue adds to them.
    ///   - by: who resolves.
    ///   - why: what is recorded as the reason.
    public init(
        _ session: OperatorSession, store: any IdempotencyStore, decoder: CommandDecoder, queue: QueueDefaults,
        lease: Duration, by: String, why: String
    ) {
        self.session = session
        self.store = store
        self.decoder = decoder
        self.queue = queue
        self.lease = lease
        self.by = by
        self.why = why
    }

    /// Records the resolution and publishes its answer and the trail. The dead letter may be acked then.
    ///
    /// - Returns: where the answer went.
    /// - Throws: ``OperatorError``, and ``StoreError`` where the store does not answer.
    public func resolve(_ letter: DeadLetter, as resolution: Resolution, now: Timestamp) async throws -> String {
        guard letter.outcome == Outcome.unknown.rawValue else {
            throw OperatorError.refused(
                "it is no unknown outcome (it is \(letter.outcome ?? "none")): replay or discard it instead")
        }
        let message = letter.replayMessage(ReplayTerms(acceptsDuplicate: true))
        var command: RouteCommand
        switch decoder.decode(
            message, routingKey: session.place.replayQueue, queue: queue, now: now)
        {
        case .success(let valid): command = valid
        case .failure(let invalid):
            throw OperatorError.refused("it is no valid command by this configuration: \(invalid.error.message)")
        }
        let ending = try await record(resolution, letter, &command, now)
        let address = try await answer(ending, command)
        let trail = TrailEntry(
            .resolve, letter, at: now, by: by, reason: why, replay: ending.replay, resolvedAs: resolution.rawValue)
        let entry = OutgoingMessage(trail.message(), routingKey: session.place.auditQueue)
        if let problem = await session.publish([entry])[0] { throw problem }
        return address
    }

    /// Records it under a replay count that nothing was recorded under, or finds that this was done before.
    private func record(
        _ resolution: Resolution, _ letter: DeadLetter, _ command: inout RouteCommand, _ now: Timestamp
    ) async throws -> CommandRecord.Ending {
        let nonce = UInt64.random(in: .min ... .max)
        while true {
            var request = ClaimRequest(
                key: command.key, fingerprint: command.fingerprint, conversation: command.conversation,
                replay: command.replay, acceptsSecondEffect: true, lease: lease, worker: by, nonce: nonce)
            request.delivery.receivedAt = now
            switch try await store.claim(request) {
            case .interrupted(let claim) where resolution == .failed:
                // What was seen before that call says nothing of it. Given back, so that whoever has looked can resolve it.
                _ = try await store.release(
                    claim, as: .forRetry(attempts: claim.attempts + 1, mayHaveTakenEffect: true))
                throw OperatorError.refused(
                    "somebody has taken it up since then and broke off, perhaps in a call that took effect: look again, "
                        + "then resolve it")
            case .acquired(let claim), .interrupted(let claim), .superseded(let claim):
                let result = resolution.result(for: letter, why: why, by: by, now: now)
                switch try await store.record(result, for: claim) {
                case .held: return CommandRecord.Ending(result: result, replay: claim.replay)
                case .lost: throw OperatorError.refused("a worker has taken the command over; look again")
                }
            case .completed(let result, let replay):
                // An earlier attempt at this, which came no further.
                if result.outcome == resolution.outcome,
                    resolution == .succeeded || result.error?.reason == Resolution.failedReason
                {
                    return CommandRecord.Ending(result: result, replay: replay)
                }
                guard result.outcome == .unknown, replay < DeadLetter.maximumReplays else {
                    throw OperatorError.refused(
                        "it has ended \(result.outcome.rawValue) since then (replay \(replay)); see `route-worker explain`, "
                            + "and discard this dead letter")
                }
                // Replayed in the meantime, and of unknown effect again.
                command.replay = replay + 1
            case .inProgress(let left):
                throw OperatorError.refused(
                    "a worker has it in work, for at most \(left.components.seconds + 1) s more; try again then")
            case .conflict:
                throw OperatorError.refused("its RequestId is remembered for another command; discard this dead letter")
            }
        }
    }

    private func answer(_ ending: CommandRecord.Ending, _ command: RouteCommand) async throws -> String {
        var subject = AnswerSubject(command)
        subject.replay = ending.replay
        let message = AnswerEncoder().encode(ending.result, about: subject, duplicate: false)
        let results = OutgoingMessage(message, routingKey: session.place.resultsQueue)
        guard let address = subject.reply.replyTo else {
            if let problem = await session.publish([results])[0] { throw problem }
            return results.routingKey
        }
        if address.utf8.starts(with: "amq.rabbitmq.reply-to".utf8) {
            // Nobody can confirm that it was read, if whoever asked is there at all.
            let direct = OutgoingMessage(message, routingKey: address, mandatory: false)
            let problems = await session.publish([direct, results])
            if let problem = problems[1] { throw problem }
            return "\(results.routingKey) and direct reply-to"
        }
        switch await session.publish([OutgoingMessage(message, routingKey: address)])[0] {
        case nil: return address
        case .missingQueue:
            if let problem = await session.publish([results])[0] { throw problem }
            return "\(results.routingKey), since its own queue '\(address)' is gone"
        case .some(let problem): throw problem
        }
    }
}
