// How politely each org is called, and what its gate asks for.

public import RoutingContract

import AMQP
import AMQPMessage
import InteractionAPI
import Logging
import NIOCore

extension DeliveryPipeline {
    /// Things to do beside the deliveries, each in a task of its own.
    enum Errand: Sendable {
        case probe(OrgID)
        /// Place a marker at the tail of a parking queue.
        case mark(lot: String, UInt64)
        /// Ask whether the org's parking queues are empty.
        case count(OrgID)
    }

    // MARK: What is known

    /// Where orgs in trouble are parked; without it none is. Before the first delivery.
    public func park(in lots: any ParkingLots) { parking = lots }

    /// The configuration of the orgs changed; what is under way goes on by the old one.
    public func use(policies: [OrgID: OrgPolicy]) {
        settings.policies = policies
        let now = moment().uptime
        for org in orgs.keys {
            orgs[org]!.use(policies[org] ?? OrgPolicy(), concurrency: settings.concurrency, workers: workers, now: now)
            applyLimit(org)
        }
        obeyControls()
    }

    /// How many workers share the fleet's rate limits; at least 1.
    public func share(among workers: Int) {
        let workers = max(workers, 1)
        guard workers != self.workers else { return }
        self.workers = workers
        let now = moment().uptime
        for org in orgs.keys { orgs[org]!.setRate(workers: workers, now: now) }
    }

    /// Looks which parking queues hold commands of an earlier life, or of another worker, and starts their orgs parked.
    ///
    /// - Parameter names: the commands queues whose parking queues are looked at, where they are this worker's; `nil` for all.
    /// - Returns: whether the broker could be asked.
    @discardableResult
    public func lookForLeftOvers(of names: [String]? = nil) async -> Bool {
        let queues = names?.compactMap { queueIndex[$0] } ?? Array(settings.queues.indices)
        guard let lots = await filledLots(of: queues.filter(tenures.serves)) else { return false }
        found(lots)
        return true
    }

    /// Looks until the broker can be asked, or the worker drains. For before the first delivery, which must not overtake what
    /// was parked in an earlier life.
    public func findLeftOvers() async {
        while await !lookForLeftOvers(), !isDraining {
            await withCheckedContinuation { waiter in
                _ = loop.assumeIsolated().scheduleTask(in: Self.lookAgain) { waiter.resume() }
            }
        }
    }

    private static let lookAgain = TimeAmount.milliseconds(500)

    /// A parking queue with commands in it.
    struct FilledLot {
        var name: String
        var place: ParkingPlace
        var count: Int
    }

    /// - Returns: `nil` when the broker could not be asked.
    func filledLots(of queues: [Int]) async -> [FilledLot]? {
        guard let parking else { return [] }
        var places: [String: ParkingPlace] = [:]
        // An operator's pause parks also those that are not parked in trouble.
        for org in settings.policies.keys {
            for queue in queues {
                let name = ParkingQueue.name(of: settings.queues[queue].name, org: org)
                places[name] = ParkingPlace(queue: queue, org: org)
            }
        }
        guard let messages = await parking.messages(in: places.keys.sorted()) else { return nil }
        return messages.sorted { $0.key < $1.key }.compactMap { name, count in
            guard count > 0, let place = places[name] else { return nil }
            return FilledLot(name: name, place: place, count: count)
        }
    }

    /// Starts the orgs of these lots parked.
    func found(_ lots: [FilledLot]) {
        // While the broker was asked, a queue may have become another worker's.
        for lot in lots where tenures.serves(lot.place.queue) {
            let org = lot.place.org
            know(org)
            let wasLive = orgs[org]!.gate.isLive
            parkingPlaces[lot.name] = lot.place
            run(orgs[org]!.gate.found(lot.name, now: moment().uptime), org)
            guard wasLive, !orgs[org]!.gate.isLive else { continue }
            logger.info(
                "a parking queue holds commands; probing the org",
                metadata: [LogKey.org: "\(org)", LogKey.queue: "\(lot.name)", LogKey.count: "\(lot.count)"])
        }
    }

    // MARK: Before and after calls

    /// What a command waits for between its calls.
    struct Pacing {
        /// When it may be called for again.
        var until: Duration = .zero
        /// From when on the token of its org's rate limit serves, where it has taken one.
        var token: Duration?
    }

    /// What a delivery may do now.
    enum Pass {
        case go
        case wait(Duration)
        /// Not while its org is in trouble, or paused.
        case setAside
        /// By an operator's wish it is discarded.
        case shadow
        /// By an operator's wish it goes to this queue.
        case handOn(to: String)
        /// It is not for now, and comes again.
        case leave
    }

    /// How long a command of a paused org waits in its place, where it cannot be parked, before it is looked at again.
    private static let pausedInPlace: Duration = .seconds(3600)

    /// - Parameter maySetAside: a command that cannot be parked goes on although its org is in trouble.
    func pass(
        _ command: RouteCommand, _ work: Work, maySetAside: Bool, isBeyondLimit: Bool, _ pacing: inout Pacing
    ) -> Pass {
        let org = orgs[command.key.org]!
        let now = moment()
        let control = org.control
        // For what is too late no call will be made.
        let isTooLate = command.deadline.map { $0 - now.wall < org.policy.minimumCallTime } ?? false
        // It was taken out to be told that it is too late. Where nothing is told, or its time was prolonged meanwhile, its turn
        // comes with the others': an org that is not called must not be called for it.
        if work.place.isOverdue, control.mode != .live || !isTooLate { return .leave }
        let isSetAside =
            switch work.place {
            case .overdue: false
            case .returned: !org.gate.admitsReturned
            case .commands:
                org.gate.setsAside(
                    command.conversationKey.hashValue,
                    isSurplus: isBeyondLimit || org.fresh.excess(in: work.queue) > 0)
            }
        let isControlled = control.isPaused || control.mode != .live
        if (isSetAside && maySetAside) || isControlled, pacing.token != nil {
            org.bucket?.giveBack(now: now.uptime)
            pacing.token = nil
        }
        if isSetAside, maySetAside { return .setAside }
        switch control.mode {
        case .live where isTooLate: return .go
        case _ where control.isPaused:
            let left = control.mode == .live ? command.deadline.map { $0 - now.wall } : nil
            return .wait(min(left ?? Self.pausedInPlace, Self.pausedInPlace))
        case .live: break
        case .shadow: return .shadow
        case .passthrough(let queue): return .handOn(to: queue)
        }
        var until = max(org.quietUntil, pacing.until)
        if until <= now.uptime, pacing.token == nil, org.bucket != nil {
            pacing.token = now.uptime + org.bucket!.take(now: now.uptime)
        }
        until = max(until, pacing.token ?? .zero)
        var delay = until - now.uptime
        // What would be too late after the wait is told so in time.
        if let deadline = command.deadline { delay = min(delay, deadline - now.wall) }
        return delay > .zero ? .wait(delay) : .go
    }

    /// A call ended: what it says of the org.
    func judge(_ verdict: Verdict, of command: RouteCommand) {
        let (id, org) = (command.key.org, orgs[command.key.org]!)
        let now = moment().uptime
        switch verdict {
        case .succeeded, .nothingCleared, .rejected:
            if org.concurrency.succeeded() { applyLimit(id) }
            count(failed: false, nil, of: command, now)
        case .configuration, .token:
            break
        case .transient(let error, let retryAfter):
            if let retryAfter { org.quietUntil = max(org.quietUntil, now + retryAfter) }
            if error.meansBusy, org.concurrency.wasBusy(running: lanes.running(in: id), now: now) {
                logger.info(
                    "the org is busy; fewer calls at a time",
                    metadata: [
                        LogKey.org: "\(id)", LogKey.concurrency: "\(org.concurrency.limit)",
                        LogKey.reason: "\(error.reason)",
                    ])
                applyLimit(id)
            }
            if error.concernsTheOrg { count(failed: true, error, of: command, now) }
        case .unknown(let error):
            count(failed: true, error, of: command, now)
        }
    }

    private func count(failed: Bool, _ error: CommandError?, of command: RouteCommand, _ now: Duration) {
        let org = orgs[command.key.org]!
        guard parksOrgs, org.policy.parking != nil, org.control.mode == .live else { return }
        if org.breaker.ended(failed: failed, now: now) {
            trouble(.breakerOpen, error, context: command.context, command.key.org)
        }
    }

    /// The whole org is in trouble: its gate closes.
    func trouble(_ reason: ParkingReason, _ error: CommandError?, context: String, _ org: OrgID) {
        // Of a call that was under way. It says nothing of what is done with the org's commands now, and nobody would find
        // out that the org is well again.
        guard orgs[org]!.control.mode == .live else { return }
        let now = moment().uptime
        let before = orgs[org]!.gate.state
        orgs[org]!.breaker.open()
        orgs[org]!.proof = nil
        orgs[org]!.troubledContext = context
        let actions = orgs[org]!.gate.trouble(
            reason, after: orgs[org]!.quietUntil - now, now: now, using: &generator)
        if orgs[org]!.gate.state != before {
            var metadata: Logger.Metadata = [LogKey.org: "\(org)", LogKey.reason: "\(reason.rawValue)"]
            if let error { metadata[LogKey.error] = "\(error.message)" }
            if let code = error?.code { metadata[LogKey.code] = "\(code)" }
            logger.warning("the org is parked", metadata: metadata)
        }
        run(actions, org)
    }

    // MARK: The gate

    func know(_ org: OrgID) {
        guard orgs[org] == nil else { return }
        orgs[org] = OrgState(
            policy: settings.policies[org] ?? OrgPolicy(), concurrency: settings.concurrency,
            prefetches: settings.queues.map(\.prefetch), workers: workers, marker: generator.next(),
            now: moment().uptime)
        obeyControl(org)
    }

    func applyLimit(_ org: OrgID) {
        lanes.setLimit(limit(of: org), for: org)
        pump()
    }

    /// Deliveries of the org that may run at a time; `nil` for all slots.
    func limit(of org: OrgID) -> Int? {
        orgs[org]!.limit(slots: settings.concurrency, share: returning.limit(of: org))
    }

    /// The orgs that return share some of the slots: with one more or less the others' shares change.
    private func shareSlots(_ org: OrgID) {
        let hasChanged =
            switch orgs[org]!.gate.state {
            case .overflowing: returning.began(org, gently: false)
            case .returning, .turning: returning.began(org, gently: true)
            case .live, .parked, .probing: returning.ended(org)
            }
        if hasChanged { for other in Array(returning.orgs) where other != org { applyLimit(other) } }
        applyLimit(org)
    }

    func run(_ actions: [OrgGate.Action], _ org: OrgID) {
        for action in actions {
            switch action {
            case .probe: errand(.probe(org))
            case .count: errand(.count(org))
            case .mark(let lot, let number): errand(.mark(lot: lot, number))
            case .subscribe(let lot, let toLook):
                // Enough to keep the calls going that an org which is not live may take.
                let atOnce = max(min(2 * orgs[org]!.concurrency.maximum, settings.concurrency * 3 / 4), 1)
                let queue = parkingPlaces[lot]!.queue
                tenures.openedLot(of: queue)
                parking?.subscribe(
                    lot, prefetch: toLook ? .max : UInt16(clamping: atOnce), lock: settings.queues[queue].lock)
            case .unsubscribe(let lot):
                flushSettlements()
                parking?.unsubscribe(lot, lock: settings.queues[parkingPlaces[lot]!.queue].lock)
                lose(lot)
            case .holdFresh:
                if orgs[org]!.fresh.held == 0 { run(orgs[org]!.gate.freshIsParked(), org) }
            case .releaseFresh:
                let held = orgs[org]!.heldBack
                orgs[org]!.heldBack = []
                for work in held where isLive(work) { enter(work) }
                pump()
            case .recheck:
                if orgs[org]!.gate.isLive {
                    orgs[org]!.cannotPark = false
                    logger.info("the org's commands are not parked any more", metadata: [LogKey.org: "\(org)"])
                    judgeShare(of: org)
                }
                shareSlots(org)
                wakeSleepers { $0.org == org }
            case .startSlowly:
                orgs[org]!.breaker.tryAgain()
                // Without calls it would stay slow.
                if orgs[org]!.control.mode == .live { orgs[org]!.concurrency.startSlowly() }
                shareSlots(org)
            case .speedUp:
                returning.speedUp(org)
                applyLimit(org)
            }
        }
        rearm(org)
    }

    func rearm(_ org: OrgID) {
        let due = [orgs[org]!.gate.dueAt, orgs[org]!.fresh.dueAt].compactMap { $0 }.min()
        if let alarm = orgs[org]!.alarm {
            if alarm.at == due { return }
            alarm.scheduled.cancel()
            orgs[org]!.alarm = nil
        }
        guard let due, !isDraining else { return }
        let delay = max(due - moment().uptime, .zero)
        let scheduled = loop.assumeIsolated().scheduleTask(in: timer(delay)) {
            self.assumeIsolated { $0.timeCame(for: org) }
        }
        orgs[org]!.alarm = (due, scheduled)
    }

    private func timeCame(for org: OrgID) {
        orgs[org]!.alarm = nil
        guard !isDraining else { return }
        if orgs[org]!.fresh.dueAt != nil { judgeShare(of: org) }
        run(orgs[org]!.gate.timeCame(moment().uptime), org)
    }

    func perform(_ errand: Errand) async {
        switch errand {
        case .probe(let org): await probe(org)
        case .mark(let lot, let number):
            let marker = ParkingMarker(number).encoded(messageID: RequestID.random(using: &generator).description)
            // One that is lost is missed, and the lots are counted instead.
            _ = await publisher.publish(
                [OutgoingMessage(marker, routingKey: lot)], timeout: settings.answers.confirmTimeout)
        case .count(let org):
            let isEmpty = await parking?.areEmpty(orgs[org]!.gate.lotNames) ?? false
            run(orgs[org]!.gate.counted(isEmpty: isEmpty, now: moment().uptime), org)
        }
    }

    /// A real call without effect: any answer that shows token, scope, context and service well will do.
    private func probe(_ org: OrgID) async {
        guard orgs[org]!.control.mode == .live, orgs[org]!.policy.parking != nil else {
            let isWell = await mayReturnUncalled(org)
            return run(orgs[org]!.gate.probed(isWell: isWell, now: moment().uptime, using: &generator), org)
        }
        var isWell = true
        var retryAfter: Duration?
        var error: CommandError?
        let context = decoder.orgs.find(org.description)?.defaultContext ?? orgs[org]!.troubledContext
        // Without a context to call with, the next command is the probe.
        if let context {
            let command = RouteCommand.probe(of: org, context: context, using: &generator)
            let result = await api.perform(command, timeout: orgs[org]!.policy.callTimeout)
            switch Verdict(on: result, result.document, of: .delete, now: moment().wall) {
            case .succeeded, .nothingCleared, .rejected: break
            case .configuration(let found), .token(let found), .unknown(let found): (isWell, error) = (false, found)
            case .transient(let found, let wish): (isWell, error, retryAfter) = (false, found, wish)
            }
        }
        let now = moment().uptime
        if isWell { orgs[org]!.proof = context.map { ($0, now) } }
        var metadata: Logger.Metadata = [LogKey.org: "\(org)"]
        if let error { metadata[LogKey.error] = "\(error.message)" }
        logger.log(
            level: isWell ? .info : .debug, isWell ? "a probe found the org well" : "a probe found the org in trouble",
            metadata: metadata)
        run(orgs[org]!.gate.probed(isWell: isWell, retryAfter: retryAfter, now: now, using: &generator), org)
    }
}

extension CommandError {
    /// 429, 503, or the rate limit's message: fewer calls at a time would help.
    fileprivate var meansBusy: Bool { reason == "rate-limited" || reason == "unavailable" }

    /// Whether it says something of the org: a rate limit is met by calling less, 10055 and 10056 are about one
    /// conversation, and connections run out on this side.
    fileprivate var concernsTheOrg: Bool {
        switch reason {
        case "rate-limited", CallFailure.Reason.noConnectionFree, CallFailure.Reason.tooManyWaiting,
            CallFailure.Reason.tokenNotYet:
            false
        default: code != 10055 && code != 10056
        }
    }
}
