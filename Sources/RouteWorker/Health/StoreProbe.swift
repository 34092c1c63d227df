// Does the store really take and give back what it is told?

public import IdempotencyStore
import RoutingContract

extension IdempotencyStore {
    /// Claims a command that nobody has and gives the claim back, which writes, reads and leaves nothing behind. (A worker
    /// that ends in between leaves a claim that is purged with the others.)
    ///
    /// - Throws: why the store cannot be worked with; ``StoreError/unusable(_:)`` where somebody must act.
    public func probe() async throws(StoreError) {
        var generator = SystemRandomNumberGenerator()
        guard let nobody = OrgID("00D000000000000") else { preconditionFailure("an id of 15 characters is one") }
        // Of a route without issue time, so that no mark is left or looked for.
        let request = ClaimRequest(
            key: CommandKey(org: nobody, kind: .route, request: .random(using: &generator)),
            fingerprint: Fingerprint(bytes: Array(repeating: 0, count: 32)), conversation: "probe", lease: .seconds(60),
            worker: "probe")
        guard case .acquired(let claim) = try await self.claim(request) else {
            preconditionFailure("a RequestId that is drawn at random is new")
        }
        guard try await release(claim, as: .unbound) == .held else {
            throw .unavailable("it does not hold what was written a moment ago")
        }
    }
}
