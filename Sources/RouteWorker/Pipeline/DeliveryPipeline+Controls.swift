// What operators say of orgs, obeyed: paused orgs are parked, shadowed commands discarded, others handed on.

import AMQP
import AMQPMessage
public import FleetControls
import Logging
import RoutingContract

extension DeliveryPipeline {
    /// How an attempt to hand a message on ended.
    enum HandOn {
        case settled(Settlement)
        /// The queue that it was to be handed on to does not take it.
        case blocked
        /// The broker did not confirm it.
        case again
    }

    // MARK: What holds

    /// What holds from now on, for every org, also for those that come later. Before the first delivery.
    ///
    /// Calls under way finish. What has not begun, or waits for another attempt, obeys the newest control when its turn comes.
    public func use(_ controls: ControlState) {
        let before = self.controls
        self.controls = controls
        report(controls, before)
        obeyControls()
    }

    /// Makes known every org of the configuration for which something holds.
    func obeyControls() {
        for org in Set(settings.policies.keys).union(orgs.keys) {
            // An org that nobody says anything of is made known by its first command.
            if orgs[org] != nil || controls.control(of: org) != .live {
                know(org)
                obeyControl(org)
            }
        }
    }

    /// Brings one org's gate into line with what operators say.
    func obeyControl(_ org: OrgID) {
        let (before, now) = (orgs[org]!.control, controls.control(of: org))
        guard before != now else { return }
        orgs[org]!.control = now
        let uptime = moment().uptime
        switch (before.isPaused, now.isPaused) {
        case (false, true): run(orgs[org]!.gate.pause(now: uptime), org)
        case (true, false): orgs[org]!.gate.resume(now: uptime)
        // What kept the org from being called need not keep its commands from being handed on, nor the other way round.
        case (false, false): orgs[org]!.gate.mayBeMended(now: uptime)
        case (true, true): break
        }
        rearm(org)
        applyLimit(org)
        wakeSleepers { $0.org == org }
    }

    // MARK: Instead of a call

    /// A command that is read and discarded.
    func shadow(_ command: RouteCommand, _ work: Work) -> Settlement {
        metrics.controlled(command.key.org, command.key.kind, as: .shadow)
        logger.info("shadow: discarded, neither called for nor answered", metadata: command.metadata(of: work))
        return .ack(work.delivery.receipt)
    }

    /// What becomes of a message that is no valid command.
    ///
    /// - Returns: how to settle it, `.some(nil)` to leave it to the broker; `nil` where it is to be answered as invalid.
    func obeyControl(_ invalid: InvalidCommand, _ work: Work, _ ticket: Lanes.Ticket) async -> Settlement?? {
        var tries = 0
        while true {
            switch controls.control(of: invalid.org).mode {
            case .live: return nil
            case .shadow:
                metrics.controlled(invalid.org, invalid.kind, as: .shadowedInvalid)
                logger.info("shadow: discarded, not answered as invalid", metadata: invalid.metadata(of: work))
                return .some(.ack(work.delivery.receipt))
            case .passthrough(let queue):
                if case .settled(let settlement) = await handOn(work, invalid.request, to: queue) {
                    metrics.controlled(invalid.org, invalid.kind, as: .passthrough)
                    return .some(settlement)
                }
                // Of whose org nothing is known cannot be parked.
                tries += 1
                guard await wait(publishBackoff(tries), ticket, work) else { return .some(nil) }
            }
        }
    }

    /// Hands a command on. Its lane waits for the confirm, so that those of one conversation keep their order.
    func handOn(_ command: RouteCommand, _ work: Work, to queue: String) async -> HandOn {
        let ended = await handOn(work, command.key.request, to: queue)
        if case .settled = ended {
            metrics.controlled(command.key.org, command.key.kind, as: .passthrough)
            logger.info(
                "passthrough: handed on",
                metadata: command.metadata(of: work).merging([LogKey.routingKey: "\(queue)"]) { $1 })
        }
        return ended
    }

    private func handOn(_ work: Work, _ request: RequestID?, to queue: String) async -> HandOn {
        // Whoever said so may have had another configuration; the command would come back for ever.
        guard !decoder.rules.isOwn(queue) else { return .blocked }
        let message: Message
        do throws(UnencodableProperties) {
            guard work.delivery.canBeRepublished else { return rejectUnhanded(work, "it could not be read as it came") }
            message = try work.delivery.message.handedOn(
                messageID: (request ?? RequestID.random(using: &generator)).description)
        } catch {
            return rejectUnhanded(work, error.description)
        }
        let outgoing = OutgoingMessage(message, routingKey: queue)
        switch await publisher.publish([outgoing], timeout: settings.answers.confirmTimeout)[0] {
        case .confirmed: return .settled(.ack(work.delivery.receipt))
        case .returned, .nacked: return .blocked
        case .refused(let error): return rejectUnhanded(work, "\(error)")
        case .failed: return .again
        }
    }

    private func rejectUnhanded(_ work: Work, _ obstacle: String) -> HandOn {
        logger.error(
            "a message cannot be handed on: rejecting it to the broker's dead-letter exchange",
            metadata: [LogKey.queue: "\(work.delivery.queue)", LogKey.obstacle: "\(obstacle)"])
        return .settled(.reject(work.delivery.receipt))
    }

    /// The queue of a passthrough does not take the org's commands: they are parked until it does.
    func blocked(_ org: OrgID, _ queue: String) {
        let actions = orgs[org]!.gate.trouble(.passthroughBlocked, now: moment().uptime, using: &generator)
        guard !actions.isEmpty else { return }
        logger.warning(
            "the org is parked: the queue to which its commands are handed on is missing, full, or the worker's own",
            metadata: [
                LogKey.org: "\(org)", LogKey.reason: "\(ParkingReason.passthroughBlocked.rawValue)",
                LogKey.routingKey: "\(queue)",
            ])
        run(actions, org)
    }

    /// Whether an org that is not called may come back; stands for a probe, which is a call.
    func mayReturnUncalled(_ org: OrgID) async -> Bool {
        switch orgs[org]!.control.mode {
        case .live, .shadow: return true
        case .passthrough(let queue):
            guard !decoder.rules.isOwn(queue) else { return false }
            return await parking?.messages(in: [queue])?[queue] != nil
        }
    }

    // MARK: Telling

    private func report(_ controls: ControlState, _ before: ControlState) {
        func tell(_ entry: ControlEntry, _ name: String) {
            for line in entry.lines {
                logger.info("an operator's control of the org", metadata: line.merging([LogKey.org: "\(name)"]) { $1 })
            }
        }
        if controls.version != before.version, let changed = controls.changed {
            logger.info(
                before.version == 0 ? "operators' controls are in force" : "operators' controls changed",
                metadata: changed.metadata.merging([LogKey.version: "\(controls.version)"]) { $1 })
        }
        if controls.all != before.all {
            tell(controls.all, "all")
            if controls.all == ControlEntry() { tellLive("all") }
        }
        for org in Set(controls.orgs.keys).union(before.orgs.keys).sorted(by: { $0.description < $1.description })
        where controls.orgs[org] != before.orgs[org] {
            guard let entry = controls.orgs[org] else {
                tellLive(org.description)
                continue
            }
            tell(entry, org.description)
        }
    }

    private func tellLive(_ name: String) {
        logger.info("no operator's control of the org any more", metadata: [LogKey.org: "\(name)"])
    }
}

extension ControlEntry {
    /// For log lines.
    fileprivate var lines: [Logger.Metadata] {
        var lines: [Logger.Metadata] = []
        if let paused {
            lines.append(paused.note.metadata.merging([LogKey.control: paused.value ? "paused" : "running"]) { $1 })
        }
        if let mode {
            var line = mode.note.metadata.merging([LogKey.control: "\(mode.value.name)"]) { $1 }
            if let target = mode.value.target { line[LogKey.routingKey] = "\(target)" }
            lines.append(line)
        }
        return lines
    }
}

extension ControlNote {
    fileprivate var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = [LogKey.by: "\(by)", LogKey.since: "\(since.rfc3339)"]
        if let reason { metadata[LogKey.reason] = "\(reason)" }
        return metadata
    }
}

extension RouteCommand {
    fileprivate func metadata(of work: DeliveryPipeline.Work) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            LogKey.queue: "\(work.delivery.queue)", LogKey.requestID: "\(key.request)", LogKey.org: "\(key.org)",
            LogKey.command: "\(key.kind.rawValue)", LogKey.conversation: "\(conversation)",
        ]
        if let trace = reply.trace.traceID { metadata[LogKey.trace] = "\(trace)" }
        return metadata
    }
}

extension InvalidCommand {
    fileprivate func metadata(of work: DeliveryPipeline.Work) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            LogKey.queue: "\(work.delivery.queue)", LogKey.reason: "\(error.reason)", LogKey.error: "\(error.message)",
        ]
        if let request { metadata[LogKey.requestID] = "\(request)" }
        if let org { metadata[LogKey.org] = "\(org)" }
        return metadata
    }
}
