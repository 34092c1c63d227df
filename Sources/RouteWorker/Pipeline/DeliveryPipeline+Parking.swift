// Commands of orgs in trouble: on their way to a parking queue, and back from it.

import AMQP
import AMQPMessage
import Logging
import RoutingContract

extension DeliveryPipeline {
    /// Where a delivery came from.
    enum Place: Sendable, Hashable {
        case commands
        /// A parking queue, on its way back.
        case returned(lot: String)
        /// A parking queue, because its deadline has passed; no call will be made.
        case overdue(lot: String)

        var isOverdue: Bool { if case .overdue = self { true } else { false } }

        var lot: String? {
            switch self {
            case .commands: nil
            case .returned(let lot), .overdue(let lot): lot
            }
        }
    }

    /// What a parking queue is for.
    struct ParkingPlace: Sendable, Hashable {
        /// The index of the commands queue.
        var queue: Int
        var org: OrgID
    }

    /// Whether a parking queue can be used.
    enum LotState {
        case preparing([CheckedContinuation<Void, Never>])
        case ready
        case refused(until: Duration)
    }

    /// How an attempt to park a delivery ended.
    enum ParkingOutcome {
        /// Confirmed.
        case parked
        /// Left to the broker.
        case left
        /// It has to be worked on in place.
        case impossible
        /// The org is live again.
        case notNeeded
    }

    /// How long a refusal to let the worker use a parking queue is believed.
    private static let refusalHolds: Duration = .seconds(60)

    // MARK: In and out of the lanes

    /// Puts a valid command into its lane, or keeps it back while its org turns.
    func enter(_ work: Work) {
        metrics.entered(work)
        guard let org = work.org else { return lanes.deliver(work, key: nil, source: sources[work.queue]) }
        know(org)
        switch work.place {
        case .commands where orgs[org]!.gate.isHolding:
            orgs[org]!.heldBack.append(work)
            return
        case .commands:
            if orgs[org]!.fresh.entered(work.queue) { judgeShare(of: org) }
        case .returned, .overdue: break
        }
        lanes.deliver(
            work, key: work.conversation, source: sources[work.queue], maySetAside: work.place == .commands)
    }

    /// Whether the org takes so much of the prefetch that others wait behind it: then its surplus is parked.
    func judgeShare(of org: OrgID) {
        let now = moment().uptime
        // There is nobody to wait where there is no other org.
        guard parksOrgs, orgs[org]!.gate.isLive, orgs[org]!.policy.parking != nil, !orgs[org]!.cannotPark,
            orgs[org]!.refusedUntil <= now, settings.policies.count > 1, orgs[org]!.control.mode == .live
        else { return orgs[org]!.fresh.stopWatching() }
        let isLimited = orgs[org]!.isLimited(slots: settings.concurrency, now: now)
        let isHeldUp = 2 * orgs[org]!.calls < lanes.running(in: org)
        switch orgs[org]!.fresh.judge(isLimited: isLimited, isHeldUp: isHeldUp, now) {
        case .fair: break
        case .watched: rearm(org)
        case .surplus:
            logger.info(
                "more commands of the org wait than its share: the surplus is parked",
                metadata: [LogKey.org: "\(org)", LogKey.count: "\(orgs[org]!.fresh.excess)"])
            run(orgs[org]!.gate.overflowed(now: now), org)
        }
    }

    /// Starts a command that its org's limit would hold back for long, where all there is to do is to park it.
    func nextToSetAside() -> Lanes.Start? {
        for org in returning.orgs {
            if orgs[org]!.mayStartBeyondLimit(limit(of: org), running: lanes.running(in: org)),
                let start = lanes.startHeld(org)
            {
                return start
            }
        }
        return nil
    }

    /// A delivery has left the lanes, settled or not.
    func left(_ work: Work) {
        metrics.left(work)
        if let lot = work.place.lot {
            guard let org = parkingPlaces[lot]?.org else { return }
            return run(orgs[org]!.gate.finished(from: lot, now: moment().uptime), org)
        }
        guard let org = work.org else { return }
        orgs[org]!.fresh.left(work.queue)
        if orgs[org]!.fresh.held == 0, orgs[org]!.gate.isHolding { run(orgs[org]!.gate.freshIsParked(), org) }
    }

    /// Takes what a parking queue delivers.
    func takeParked(_ delivery: Delivery, _ place: ParkingPlace, _ now: Timestamp) {
        let lot = delivery.queue
        guard generations[lot] == delivery.receipt.generation, let use = orgs[place.org]!.gate.use(of: lot) else {
            return
        }
        if let marker = ParkingMarker(delivery.message) {
            acknowledgeSoon(.ack(delivery.receipt), of: lot)
            return run(orgs[place.org]!.gate.markerCame(lot, marker.number, now: moment().uptime), place.org)
        }
        // What comes while its queue is given up is the next worker's.
        guard tenures.serves(place.queue) else { return }
        let parked = ParkedMessage(delivery.message)
        switch use {
        case .looking:
            guard let deadline = parked?.deadline else { return }
            let overdueAt = overdueAt(deadline, place.org)
            guard overdueAt <= moment().uptime else {
                orgs[place.org]!.gate.noteDeadline(overdueAt, in: lot)
                return
            }
            takeBack(delivery, parked, place, .overdue(lot: lot), now)
        case .returning:
            takeBack(delivery, parked, place, .returned(lot: lot), now)
        }
    }

    /// - Parameter parked: `nil` for a message that no worker put there; it counts as one from the commands queue.
    private func takeBack(
        _ delivery: Delivery, _ parked: ParkedMessage?, _ parkingPlace: ParkingPlace, _ place: Place, _ now: Timestamp
    ) {
        var original = delivery
        original.queue = settings.queues[parkingPlace.queue].name
        original.routingKey = original.queue
        if let parked {
            original.message = parked.message
            original.queue = parked.origin.queue
            original.exchange = parked.origin.exchange
            original.routingKey = parked.origin.routingKey
            original.redelivered = delivery.redelivered || parked.earlierDeliveries > 0
        }
        let receivedAt = parked?.receivedAt ?? now
        let work = Work(
            delivery: original, queue: parkingPlace.queue, place: place,
            decoded: decode(original, settings.queues[parkingPlace.queue].defaults, receivedAt),
            receivedAt: receivedAt, earlierDeliveries: parked?.earlierDeliveries ?? 0)
        orgs[parkingPlace.org]!.gate.took(from: delivery.queue)
        enter(work)
    }

    /// When a call cannot be made in time any more, on the clock of the gate: by the time of day, which has whole milliseconds,
    /// just enough time is left until the next.
    private func overdueAt(_ deadline: Timestamp, _ org: OrgID) -> Duration {
        let now = moment()
        return now.uptime + (deadline - now.wall) - orgs[org]!.policy.minimumCallTime + .milliseconds(1)
    }

    // MARK: Setting aside

    /// Publishes a delivery to its org's parking queue. Its lane waits for the confirm, so that those of one conversation
    /// stand there in their order.
    func park(_ command: RouteCommand, _ work: Work, _ ticket: Lanes.Ticket) async -> ParkingOutcome {
        guard parksOrgs, work.delivery.canBeRepublished else { return .impossible }
        let org = command.key.org
        orgs[org]!.gate.parkBegins()
        let outcome = await bring(command, work, ticket, to: ParkingPlace(queue: work.queue, org: org))
        orgs[org]!.gate.parkEnded(command.conversationKey.hashValue)
        return outcome
    }

    private func bring(
        _ command: RouteCommand, _ work: Work, _ ticket: Lanes.Ticket, to place: ParkingPlace
    ) async -> ParkingOutcome {
        let org = place.org
        let lot = ParkingQueue.name(of: work.delivery.queue, org: org)
        let message: Message
        do throws(UnencodableProperties) {
            let parked = ParkedMessage(
                message: work.delivery.message,
                origin: DeliveryOrigin(
                    queue: work.delivery.queue, exchange: work.delivery.exchange,
                    routingKey: work.delivery.routingKey),
                receivedAt: work.receivedAt, earlierDeliveries: work.earlierDeliveries, deadline: command.deadline)
            message = try parked.encoded(messageID: RequestID.random(using: &generator).description)
        } catch {
            return .impossible
        }
        var tries = 0
        while true {
            tries += 1
            switch await readiness(of: lot, place) {
            case .ready:
                // While it was called for, or the queue was asked for, the commands queue may have become another worker's,
                // and its parking queues with it: the gate must not know of them until they are this worker's again.
                guard isLive(work) else { return .left }
                // Or the org may have come back.
                guard !orgs[org]!.gate.isLive else { return .notNeeded }
                let deadline = command.deadline.map { overdueAt($0, org) }
                run(orgs[org]!.gate.parks(in: lot, overdueAt: deadline, now: moment().uptime), org)
                let outcome = await publisher.publish(
                    [OutgoingMessage(message, routingKey: lot)], timeout: settings.answers.confirmTimeout)[0]
                switch outcome {
                case .confirmed: return .parked
                case .returned: lotStates[lot] = nil
                case .refused(let error):
                    refuse(lot, org, "\(error)")
                    return workInPlace(org)
                case .nacked, .failed: break
                }
            case .refused: return workInPlace(org)
            case .failed: break
            }
            guard await wait(publishBackoff(tries), ticket, work) else { return .left }
        }
    }

    /// Asks the broker once for all who want to know.
    private func readiness(of lot: String, _ place: ParkingPlace) async -> ParkingReadiness {
        while true {
            switch lotStates[lot] {
            case .ready: return .ready
            case .refused(let until) where until > moment().uptime: return .refused("")
            case .preparing:
                await withCheckedContinuation { waiter in
                    guard case .preparing(let waiters)? = lotStates[lot] else { return waiter.resume() }
                    lotStates[lot] = .preparing(waiters + [waiter])
                }
            case .refused, nil:
                lotStates[lot] = .preparing([])
                let readiness = await parking?.prepare(lot) ?? .refused("there is no parking")
                let before = lotStates.updateValue(.ready, forKey: lot)
                switch readiness {
                case .ready: parkingPlaces[lot] = place
                case .refused(let why): refuse(lot, place.org, why)
                case .failed(let why):
                    lotStates[lot] = nil
                    logger.warning(
                        "cannot prepare a parking queue; will try again",
                        metadata: [LogKey.queue: "\(lot)", LogKey.error: "\(why)"])
                }
                if case .preparing(let waiters)? = before { for waiter in waiters { waiter.resume() } }
                return readiness
            }
        }
    }

    private func refuse(_ lot: String, _ org: OrgID, _ why: String) {
        lotStates[lot] = .refused(until: moment().uptime + Self.refusalHolds)
        orgs[org]!.refusedUntil = moment().uptime + Self.refusalHolds
        logger.error(
            "the org cannot be parked, its commands are tried again in place: let the worker configure and write this queue, or run `route-worker topology declare --parking`",
            metadata: [LogKey.queue: "\(lot)", LogKey.org: "\(org)", LogKey.error: "\(why)"])
    }

    /// Until the org is live again its commands keep its limits although it is in trouble.
    private func workInPlace(_ org: OrgID) -> ParkingOutcome {
        if !orgs[org]!.cannotPark, !orgs[org]!.gate.isLive {
            orgs[org]!.cannotPark = true
            applyLimit(org)
        }
        return .impossible
    }
}
