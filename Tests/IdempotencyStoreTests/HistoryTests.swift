// Random histories: whatever happens in whatever order, every store answers as the model does.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct HistoryTests {
    @Test(
        arguments: StoreKind.allCases,
        [UInt64.random(in: .min ... .max), .random(in: .min ... .max), 1, 14_463_339_414_633_697_509])
    func everyHistoryIsAnsweredAsTheModelDoes(_ kind: StoreKind, seed: UInt64) async throws {
        var generator = SeededGenerator(seed: seed)
        let retention = Retention(succeeded: .seconds(100), failed: .seconds(400))
        var model = StoreModel(retention: retention)
        var claims: [Claim] = []
        try await kind.withStore(retention: retention) { store, clock in
            for step in 0..<1500 {
                let now = clock.now.milliseconds
                let place: Comment = "seed \(seed), step \(step)"
                switch Int.random(in: 0..<100, using: &generator) {
                case 0..<40:
                    let wish = wish(&generator, now)
                    let answer = try await store.claim(wish)
                    try #require(answer == model.claim(wish, at: now, token: answer.claim?.token), place)
                    if let claim = answer.claim { claims.append(claim) }
                case 40..<60:
                    guard var claim = claims.suffix(8).randomElement(using: &generator) else { continue }
                    claim.calls = someCalls(step, &generator)
                    let result = someResult(&generator)
                    try #require(
                        try await store.record(result, for: claim) == model.record(result, claim, at: now), place)
                case 60..<80:
                    guard var claim = claims.suffix(8).randomElement(using: &generator) else { continue }
                    claim.calls = someCalls(step, &generator)
                    let release: Release =
                        Bool.random(using: &generator)
                        ? .unbound
                        : .forRetry(
                            attempts: Int.random(in: 0...2, using: &generator),
                            mayHaveTakenEffect: Int.random(in: 0..<4, using: &generator) == 0)
                    try #require(
                        try await store.release(claim, as: release) == model.release(claim, release, at: now), place)
                case 80..<85:
                    let wish = wish(&generator, now)
                    try await store.mark(wish)
                    model.mark(wish, at: now)
                case 85..<88:
                    let key = key(UInt8.random(in: 0..<4, using: &generator))
                    let history = try await store.find(key)?.history
                    let story = model.story(of: key)
                    try #require(history?.entries?.map(told) == story?.told, place)
                    try #require(history?.dropped == story?.dropped, place)
                case 88..<90:
                    let whose = ["c", "d"].randomElement(using: &generator) ?? "c"
                    let conversation = ConversationKey(org: someOrg, conversation: whose)
                    let keys = try await store.commands(of: conversation) { _ in }
                    try #require(Set(keys) == model.keys(of: whose), place)
                    for key in Set(keys + [key(0)]) {
                        let result = try await store.forget(key, of: conversation)
                        try #require(result == model.forget(key, of: whose), place)
                    }
                    try #require(
                        try await store.forgetMark(of: conversation) == model.forgetMark(of: whose), place)
                case 90..<97:
                    clock.advance(by: .milliseconds(Int64.random(in: 0...20_000, using: &generator)))
                case 97:
                    clock.advance(by: .seconds(Int64.random(in: 0...300, using: &generator)))
                default:
                    try #require(try await store.purge(limit: 1000) == model.purge(at: now), place)
                }
            }
        }
    }

    /// Each call is made once, so no two are alike.
    private func someCalls(_ step: Int, _ generator: inout SeededGenerator) -> [CallNote] {
        (0..<Int.random(in: 0...2, using: &generator)).map { number in
            CallNote(
                startedAt: start, duration: .milliseconds(5), end: .answered(status: 503), code: 10019,
                reason: "\(step).\(number)")
        }
    }

    private func told(_ entry: HistoryEntry) -> StoreModel.Told {
        switch entry.event {
        case .claimed(let claim): StoreModel.Told(words: "claimed \(claim.kind)")
        case .called(let call): StoreModel.Told(words: "called \(call.reason)")
        case .released: StoreModel.Told(words: "released")
        case .ended(let outcome, _): StoreModel.Told(words: "ended \(outcome)")
        case .seenAgain(let again): StoreModel.Told(words: "\(again.kind)", count: again.count)
        case .forgotten: StoreModel.Told(words: "forgotten")
        case .other: StoreModel.Told(words: "unexpected")
        }
    }

    private func wish(_ generator: inout SeededGenerator, _ now: Int64) -> ClaimRequest {
        let kind: CommandKind = Int.random(in: 0..<4, using: &generator) == 0 ? .delete : .route
        let ages: [Int64?] = [nil, 0, -1000, -30_000, 1000]
        return request(
            key(UInt8.random(in: 0..<4, using: &generator), kind),
            meaning: Int.random(in: 0..<12, using: &generator) == 0 ? 1 : 0,
            conversation: ["c", "d"].randomElement(using: &generator) ?? "c",
            issuedAt: ages.randomElement(using: &generator).flatMap { $0 }.map { Timestamp(milliseconds: now + $0) },
            replay: [0, 0, 0, 1, 2, 3].randomElement(using: &generator) ?? 0,
            acceptsSecondEffect: Bool.random(using: &generator), lease: .seconds(30),
            nonce: [nil, 1, 2].randomElement(using: &generator).flatMap { $0 },
            callsMade: Int.random(in: 0..<6, using: &generator) > 0
                ? nil
                : CallsMade(
                    attempts: Int.random(in: 0...3, using: &generator),
                    mayHaveTakenEffect: Int.random(in: 0..<3, using: &generator) == 0))
    }

    private func someResult(_ generator: inout SeededGenerator) -> CommandResult {
        let outcomes: [Outcome] = [.succeeded, .rejected, .exhausted, .unknown, .superseded]
        let outcome = outcomes.randomElement(using: &generator) ?? .succeeded
        let foundNothing = outcome == .rejected && Bool.random(using: &generator)
        return result(
            outcome, attempts: Int.random(in: 0...3, using: &generator),
            reason: foundNothing ? CommandResult.nothingCleared : nil)
    }
}
