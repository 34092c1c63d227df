// What happens to the parking queues of an org: opened, marked, seen through, closed, given up. Pure.

extension OrgGate {
    mutating func subscribed(_ lot: String, now: Duration) -> [Action] {
        guard let use = lots[lot]?.use, use != .closed, state != .turning, state != .live else { return [] }
        return mark(lot)
    }

    /// The channel is gone, and everything unsettled with it; the consumer subscribes again by itself.
    mutating func subscriptionLost(_ lot: String, now: Duration) -> [Action] {
        guard lots[lot]?.use == .returning else { return [] }
        switch state {
        case .turning: return endTurn(now)
        // What was thought to be back in the lanes is in the lot again. A live org has commands there until the last that came
        // from it is settled.
        case .live, .overflowing: return returnAgain(now)
        case .parked, .probing, .returning: return []
        }
    }

    /// The lots hold commands of nobody knows which conversations: all fresh ones go behind them.
    mutating func returnAgain(_ now: Duration) -> [Action] {
        if state == .live { reason = .leftOver }
        state = .returning
        countAt = now + Self.countInterval
        return [.recheck]
    }

    /// A command from a lot enters the lanes.
    mutating func took(from lot: String) { lots[lot]?.underWay += 1 }

    /// It has left them, settled or not.
    mutating func finished(from lot: String, now: Duration) -> [Action] {
        guard let underWay = lots[lot]?.underWay, underWay > 0 else { return [] }
        lots[lot]!.underWay = underWay - 1
        return closeIfDone(lot, now)
    }

    mutating func markerCame(_ lot: String, _ marker: UInt64, now: Duration) -> [Action] {
        guard lots[lot]?.marker == marker else { return [] }
        lots[lot]!.marker = nil
        lots[lot]!.isSeen = true
        switch state {
        case .parked, .probing, .live:
            return closeIfDone(lot, now)
        case .returning:
            return allAreSeen ? turn(now) : []
        case .turning:
            return allAreSeen ? goLive() : []
        case .overflowing:
            return allAreSeen && isRoundUnderWay ? endRound(now) : []
        }
    }

    /// - Parameter isEmpty: no lot has anything left to deliver.
    mutating func counted(isEmpty: Bool, now: Duration) -> [Action] {
        switch state {
        case .live, .parked, .probing: return []
        case .returning: return isEmpty ? turn(now) : []
        case .overflowing: return isEmpty && isRoundUnderWay ? endRound(now) : []
        case .turning:
            // Somebody else consumes the lots, and with them this worker's markers.
            if isEmpty, lots.values.allSatisfy({ $0.marker != nil || $0.isSeen }) { return goLive() }
            return turnEndsAt == nil ? endTurn(now) : []
        }
    }

    /// While turning: nothing fresh is left in the lanes or on its way to the lots.
    mutating func freshIsParked() -> [Action] {
        guard state == .turning, lots.values.allSatisfy({ $0.marker == nil && !$0.isSeen }) else { return [] }
        return lots.keys.flatMap { mark($0) }
    }

    /// The lot is another worker's from now on, with all that stands in it.
    mutating func gaveUp(_ lot: String) -> [Action] {
        guard let known = lots.removeValue(forKey: lot) else { return [] }
        let close: [Action] = known.use == .closed ? [] : [.unsubscribe(lot)]
        switch state {
        case .live, .parked, .probing: return close
        // Nothing is left that anybody could overtake.
        case .returning, .turning, .overflowing: return lots.isEmpty ? close + goLive() : close
        }
    }

    private var allAreSeen: Bool { lots.values.allSatisfy(\.isSeen) }

    private mutating func turn(_ now: Duration) -> [Action] {
        state = .turning
        turnEndsAt = now + Self.turnLimit
        for name in lots.keys {
            lots[name]!.isSeen = false
            lots[name]!.marker = nil
        }
        return [.holdFresh]
    }

    private mutating func endTurn(_ now: Duration) -> [Action] {
        state = .returning
        turnEndsAt = nil
        countAt = now + Self.countInterval
        return [.releaseFresh]
    }

    mutating func beginRound() -> [Action] {
        isRoundUnderWay = true
        parkedConversations.beginRound()
        return lots.keys.flatMap { name in
            if lots[name]!.use == .returning { mark(name) } else { open(name, .returning) }
        }
    }

    private mutating func endRound(_ now: Duration) -> [Action] {
        isRoundUnderWay = false
        parkedConversations.endRound()
        countAt = now + Self.roundInterval
        return parkedConversations.isEmpty && parksUnderWay == 0 ? goLive() : []
    }

    mutating func goLive() -> [Action] {
        state = .live
        reason = nil
        failures = 0
        turnEndsAt = nil
        var actions: [Action] = [.releaseFresh, .recheck]
        for (name, lot) in lots where lot.underWay == 0 {
            actions.append(.unsubscribe(name))
            lots[name] = nil
        }
        return actions
    }

    mutating func open(_ lot: String, _ use: Lot.Use) -> [Action] {
        lots[lot]!.use = use
        lots[lot]!.marker = nil
        lots[lot]!.isSeen = false
        return [.subscribe(lot, toLook: use != .returning)]
    }

    private mutating func mark(_ lot: String) -> [Action] {
        nextMarker &+= 1
        lots[lot]!.marker = nextMarker
        lots[lot]!.isSeen = false
        return [.mark(lot, nextMarker)]
    }

    private mutating func closeIfDone(_ name: String, _ now: Duration) -> [Action] {
        guard let lot = lots[name], lot.underWay == 0 else { return [] }
        switch lot.use {
        case .closed: return []
        case .looking: return lot.isSeen ? endLook(name, now) : []
        case .returning:
            guard state == .live else { return [] }
            lots[name] = nil
            return [.unsubscribe(name)]
        }
    }

    mutating func endLook(_ name: String, _ now: Duration) -> [Action] {
        guard case .looking(let since)? = lots[name]?.use else { return [] }
        let pause = max(Self.shortestBetweenLooks, (now - since) * Self.lookShare)
        lots[name]!.use = .closed
        lots[name]!.marker = nil
        lots[name]!.lookNotBefore = now + pause
        lots[name]!.lookAt = lots[name]!.lookAt.map { max($0, now + pause) }
        return [.unsubscribe(name)]
    }
}
