// How much of the worker the orgs may take whose commands come back from parking queues. Pure.

/// The slots for orgs that are not live but called: those that return from trouble, and those whose surplus is parked.
///
/// Together they get three quarters of the worker's slots, each the same, so that one that is slow leaves room for the
/// others. Those that return from trouble begin with a sixteenth of the slots together, and get twice as much with every
/// step, so that the return of many is not felt by the rest. Every org gets at least one slot.
struct ReturnShares<Org: Hashable> {
    private let slots: Int
    /// How often each org's part was doubled; `nil` where it was not cut.
    private var steps: [Org: Int?] = [:]

    /// - Parameter slots: of the worker; at least 1.
    init(slots: Int) { self.slots = slots }

    var orgs: some Collection<Org> { steps.keys }

    /// - Parameter gently: with a cut share at first.
    /// - Returns: whether anything changed, for any of the orgs.
    mutating func began(_ org: Org, gently: Bool) -> Bool {
        guard steps[org] == nil else { return false }
        steps[org] = .some(gently ? 0 : nil)
        return true
    }

    mutating func speedUp(_ org: Org) {
        guard case .some(.some(let step)) = steps[org] else { return }
        steps[org] = .some(step < 8 ? step + 1 : nil)
    }

    mutating func ended(_ org: Org) -> Bool { steps.removeValue(forKey: org) != nil }

    /// Commands of an org that may be worked on at a time; `nil` for an org that is not among these.
    func limit(of org: Org) -> Int? {
        guard let step = steps[org] else { return nil }
        var limit = slots * 3 / 4
        if let step { limit = min(limit, max(slots / 16, 1) << step) }
        return max(limit / steps.count, 1)
    }
}
