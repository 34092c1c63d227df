// The main path: what happens to one delivery, from its claim to its acknowledgement.

import AMQP
import AMQPMessage
import Failpoints
import IdempotencyStore
import InteractionAPI
import Logging
import RoutingContract

extension DeliveryPipeline {
    /// Brings one delivery to its end.
    ///
    /// - Returns: how to settle it with the broker; `nil` leaves it unacknowledged, to be delivered again when its
    ///   channel closes.
    func settle(_ work: Work, _ ticket: Lanes.Ticket) async -> Settlement? {
        let startedAt = moment().wall
        let announcement: Announcement
        switch work.decoded {
        case .success(let command):
            if let delete = laterDelete(of: command, ticket) { await mark(delete) }
            switch await complete(command, work, ticket) {
            case .ended(let ending):
                announcement = Announcement(of: ending, for: command, work.delivery, settings)
            case .parked:
                metrics.parked(command, work, now: moment().wall)
                Failpoint.afterParking.reached()
                return .ack(work.delivery.receipt)
            case .controlled(let settlement): return settlement
            case .left: return nil
            }
        case .failure(let invalid):
            if let settlement = await obeyControl(invalid, work, ticket) { return settlement }
            announcement = Announcement(
                of: invalid, work.delivery, settings, receivedAt: work.receivedAt, now: moment().wall)
        }
        let settlement = await announce(announcement, work, ticket)
        metrics.ended(
            announcement, work, startedAt: startedAt, now: moment().wall, isAnnounced: settlement != nil)
        if settlement != nil {
            Failpoint.afterConfirm.reached()
            log(announcement)
        }
        return settlement
    }

    /// What became of a command.
    private enum Completion {
        case ended(Ending)
        /// It stands in its org's parking queue.
        case parked
        /// By an operator's wish it was not called for.
        case controlled(Settlement)
        /// The delivery is left to the broker.
        case left
    }

    /// Claim → call → record, with the turns that ``CommandProgress`` decides on.
    private func complete(_ command: RouteCommand, _ work: Work, _ ticket: Lanes.Ticket) async -> Completion {
        let org = command.key.org
        let policy = settings.policies[org] ?? OrgPolicy()
        var mayPark = parksOrgs
        var pacing = Pacing()
        var handOns = 0
        var isBeyondLimit = ticket.isBeyondLimit
        var progress = CommandProgress(
            command: command, policy: policy,
            delivery: CommandProgress.Context(
                receivedAt: work.receivedAt, earlierDeliveries: work.earlierDeliveries,
                worker: settings.worker, lease: settings.lease, retention: settings.retention,
                deliveryLimit: settings.deliveryLimit, parks: parksOrgs && policy.parking != nil,
                provenContext: orgs[org]!.provenContext(moment().uptime)),
            nonce: generator.next())
        var step = CommandProgress.Step.claim
        while true {
            switch step {
            case .claim:
                if !progress.mustClaim {
                    guard mayGoOn(work) else { return .left }
                    switch pass(command, work, maySetAside: mayPark, isBeyondLimit: isBeyondLimit, &pacing) {
                    case .go: break
                    case .wait(let duration):
                        guard await wait(duration, ticket, work) else { return .left }
                        continue
                    case .setAside:
                        guard work.place == .commands else { return .left }
                        switch await park(command, work, ticket) {
                        case .parked: return .parked
                        case .left: return .left
                        case .impossible: mayPark = false
                        case .notNeeded: break
                        }
                        // It was started to be parked, for which there is no limit: a call it may only make within its org's.
                        isBeyondLimit = false
                        guard await wait(.zero, ticket, work) else { return .left }
                        continue
                    case .shadow: return .controlled(shadow(command, work))
                    case .handOn(let queue):
                        handOns += 1
                        switch await handOn(command, work, to: queue) {
                        case .settled(let settlement): return .controlled(settlement)
                        case .blocked:
                            blocked(org, queue)
                            // What comes from a parking queue goes back there, with its channel.
                            if work.place == .commands, mayPark { continue }
                        case .again: break
                        }
                        guard await wait(publishBackoff(handOns), ticket, work) else { return .left }
                        continue
                    case .leave: return .left
                    }
                }
                let askedAt = moment()
                do {
                    Failpoint.beforeClaim.reached()
                    let result = try await store.claim(progress.claimRequest(askedAt))
                    storeWorked()
                    Failpoint.afterClaim.reached()
                    step = progress.claimed(result, askedAt: askedAt, now: moment())
                } catch {
                    storeFailed("cannot claim", command, error)
                    step = progress.notClaimed(using: &generator)
                }
            case .call(let timeout):
                let result = await call(command, timeout)
                Failpoint.afterAnswer.reached()
                let state = orgs[org]!
                step = progress.called(
                    result, trouble: state.refusals.trouble(of: command.key), now: moment(), using: &generator)
                pacing = Pacing()
                if let verdict = progress.lastVerdict {
                    judge(verdict, of: command)
                    state.refusals.called(for: command.key, verdict)
                }
            case .clear(let timeout):
                let result = await call(command.clearingItsConversation, timeout)
                step = progress.cleared(result, now: moment(), using: &generator)
                pacing = Pacing()
                if case .call = step {
                    // With the claim held there is no waiting: other commands wait for this token instead.
                    _ = orgs[org]!.bucket?.take(now: moment().uptime)
                }
                if let verdict = progress.lastVerdict { judge(verdict, of: command) }
            case .record(let claim, let result):
                do {
                    Failpoint.beforeRecord.reached()
                    let fencing = try await store.record(result, for: progress.telling(claim))
                    storeWorked()
                    Failpoint.afterRecord.reached()
                    step = progress.recorded(fencing, result)
                } catch {
                    // A result is known and the store does not take it: keep trying, also when the channel is gone,
                    // since losing it makes the command `unknown`.
                    storeFailed("cannot record", command, error)
                    guard !isCutOff else { return .left }
                    await pause(progress.storeBackoff(using: &generator), ticket, work)
                }
            case .release(let claim, let release, let next):
                do {
                    let fencing = try await store.release(progress.telling(claim), as: release)
                    storeWorked()
                    step = progress.released(fencing, then: next)
                } catch {
                    storeFailed("cannot release a claim", command, error)
                    // Whoever has the command next (from a parking queue, after this channel, by a replay) would wait for
                    // the lease and take it for interrupted: keep trying, as with a result.
                    if isCutOff {
                        step = next
                    } else {
                        await pause(progress.storeBackoff(using: &generator), ticket, work)
                    }
                }
            case .wait(let duration):
                if progress.mustClaim {
                    guard !isCutOff else { return .left }
                    await pause(duration, ticket, work)
                } else {
                    // Who is woken to look at the gate waits on where that has not closed.
                    pacing.until = moment().uptime + duration
                    guard await wait(duration, ticket, work) else { return .left }
                }
                // It may be parked after all; where not, its org gets no more calls at a time for that.
                mayPark = parksOrgs
                step = .claim
            case .park(let reason):
                trouble(reason, progress.lastVerdict?.error, context: command.context, org)
                guard work.place == .commands else {
                    // An operator may have changed what is done with the org's commands, and its gate is open.
                    guard orgs[org]!.gate.admitsReturned else { return .left }
                    step = .claim
                    continue
                }
                switch await park(command, work, ticket) {
                case .parked: return .parked
                case .left: return .left
                case .impossible: step = progress.notParked(using: &generator)
                case .notNeeded: step = .claim
                }
            case .end(let ending):
                return .ended(ending)
            }
        }
    }

    /// A route with a later delete behind it in its lane need not be made; the delete's mark tells the claim so.
    private func laterDelete(of command: RouteCommand, _ ticket: Lanes.Ticket) -> RouteCommand? {
        guard command.key.kind == .route, let issuedAt = command.issuedAt,
            orgs[command.key.org]!.control == .live
        else { return nil }
        let minimum = orgs[command.key.org]!.policy.minimumCallTime
        for work in lanes.waiting(behind: ticket) {
            guard case .success(let delete) = work.decoded, delete.key.kind == .delete,
                let deletedAt = delete.issuedAt, deletedAt > issuedAt, isLive(work),
                delete.deadline.map({ $0 - moment().wall >= minimum }) ?? true
            else { continue }
            return delete
        }
        return nil
    }

    private func mark(_ delete: RouteCommand) async {
        // Without the mark the route is made and then deleted, which is right too.
        try? await store.mark(ClaimRequest(delete, lease: settings.lease, worker: settings.worker))
    }

    /// Publishes the answers and, where the outcome asks for one or an answer has nowhere to go, the dead letter; all
    /// confirmed before the delivery may be acknowledged.
    private func announce(
        _ announcement: Announcement, _ work: Work, _ ticket: Lanes.Ticket
    ) async -> Settlement? {
        if let reply = announcement.directReply { directReplies.publishBestEffort(reply) }
        var pending = announcement.answers
        var unroutable: String?
        var tries = 0
        // Counted apart: while the broker is away, nothing is learnt of the queue.
        var nacks = 0
        while !pending.isEmpty {
            tries += 1
            let outcomes = await publisher.publish(pending, timeout: settings.answers.confirmTimeout)
            if outcomes.contains(.nacked) { nacks += 1 }
            var again: [OutgoingMessage] = []
            for (answer, outcome) in zip(pending, outcomes) {
                switch outcome {
                case .confirmed: break
                case .returned(_, let text): unroutable = "\(answer.routingKey): \(text)"
                case .refused(let error): unroutable = "\(answer.routingKey): \(error)"
                case .nacked where nacks >= settings.answers.publishAttempts:
                    unroutable = "\(answer.routingKey): the broker refused it (queue full?)"
                case .nacked:
                    if nacks == 1 {
                        log.write(.warning, "the broker refused the answer; it is published again") {
                            announcement.write(to: &$0, error: "\(answer.routingKey): is the queue full?")
                        }
                    }
                    again.append(answer)
                case .failed: again.append(answer)
                }
            }
            pending = again
            if !pending.isEmpty {
                guard await wait(publishBackoff(tries), ticket, work) else { return nil }
            }
        }
        if let unroutable {
            log.write(.warning, "the answer has nowhere to go; its command becomes a dead letter") {
                announcement.write(to: &$0, error: unroutable)
            }
        }
        guard announcement.needsDeadLetter || unroutable != nil else { return .ack(work.delivery.receipt) }
        return await bury(announcement, unroutable: unroutable, work, ticket)
    }

    /// Places the dead letter. Only when that cannot be done does the delivery stay unacknowledged.
    private func bury(
        _ announcement: Announcement, unroutable: String?, _ work: Work, _ ticket: Lanes.Ticket
    ) async -> Settlement? {
        let deadLetter: OutgoingMessage
        do throws(UnencodableProperties) {
            guard work.delivery.canBeRepublished else {
                let obstacle =
                    work.delivery.skippedBodyBytes.map { "none of its body of \($0) bytes was kept" }
                    ?? "its properties could not be read as they came (not UTF-8, or nested too deep)"
                return reject(work, announcement, obstacle: obstacle)
            }
            deadLetter = try announcement.deadLetter(unroutable: unroutable, settings, now: moment().wall)
        } catch {
            return reject(work, announcement, obstacle: error.description)
        }
        var tries = 0
        while true {
            tries += 1
            switch await publisher.publish([deadLetter], timeout: settings.answers.confirmTimeout)[0] {
            case .confirmed:
                return .ack(work.delivery.receipt)
            case .refused(let error):
                return reject(work, announcement, obstacle: "\(error)")
            case .returned(_, let text):
                // Once for each command; that the queue is missing, ``FleetService`` says again and again.
                let level: Logger.Level = tries == 1 ? .error : .debug
                log.write(level, "the dead letter has nowhere to go; run `route-worker topology declare`") {
                    announcement.write(to: &$0, error: text)
                }
            case .nacked, .failed:
                break
            }
            guard await wait(publishBackoff(tries), ticket, work) else { return nil }
        }
    }

    /// Leaves the dead letter to the broker: the message as it came, without a word on what became of its command.
    private func reject(_ work: Work, _ announcement: Announcement, obstacle: String) -> Settlement {
        log.write(
            .error, "the dead letter cannot be published: rejecting the message to the broker's dead-letter exchange"
        ) { announcement.write(to: &$0, obstacle: obstacle) }
        return .reject(work.delivery.receipt)
    }

    func publishBackoff(_ tries: Int) -> Duration {
        Backoff(minimum: .milliseconds(100), maximum: .seconds(10)).delay(afterFailures: tries, using: &generator)
    }

    private func call(_ command: RouteCommand, _ timeout: Duration) async -> CallResult {
        let began = moment().uptime
        let org = orgs[command.key.org]!
        org.calls += 1
        let result = await api.perform(command, timeout: timeout)
        org.calls -= 1
        metrics.called(for: command.key.org, took: moment().uptime - began, result)
        return result
    }

    private func log(_ announcement: Announcement) {
        log.write(
            announcement.result.needsDeadLetter ? .warning : .info, announcement.result.outcome.rawValue
        ) { announcement.write(to: &$0) }
    }
}

extension Delivery {
    /// Whether nothing of the message was lost in reading it.
    var canBeRepublished: Bool { isComplete && skippedBodyBytes == nil }

    /// How often the broker delivered this message before, by its own count (quorum queues) or, without one, the
    /// redelivered flag.
    var earlierDeliveries: Int {
        // On a first delivery a header of this name is the publisher's own.
        guard redelivered else { return 0 }
        // A classic queue leaves the publisher's there on all others: whatever it says must be fit to be counted on from.
        return switch message.properties.headers["x-delivery-count"] {
        case .int64(let count): max(Int(Int32(clamping: count)), 1)
        case .int32(let count): max(Int(count), 1)
        default: 1
        }
    }
}
