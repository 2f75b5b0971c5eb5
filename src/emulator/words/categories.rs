//! The thirteen categories in alphabetical order, what their pins are about, and how tags are made
//! of it.

/// A category of posts.
pub(in crate::emulator) struct Category {
    /// As it stands in `category` and at the end of `save_location`.
    pub(in crate::emulator) name: &'static str,
    /// What a pin can be about, in small letters, between commas.
    pub(in crate::emulator) subjects: &'static str,
}

pub(in crate::emulator) const CATEGORIES: &[Category] = &[
    Category {
        name: "art",
        subjects: "watercolour landscapes, charcoal portraits, abstract canvas, ink sketches, paper collage, linocut \
            prints, oil pastels, street murals, clay figures, pencil drawing, gouache flowers, mosaic panels, \
            line art, acrylic pouring, botanical drawing, colour theory",
    },
    Category {
        name: "beauty",
        subjects: "nail designs, evening make up, curly hair, skin care, winged eyeliner, braided updos, natural soap, \
            lip colour, hair masks, short haircuts, face serum, eyebrow shapes, summer perfume, autumn nails, \
            bath salts, silver hair",
    },
    Category {
        name: "christmas",
        subjects: "gingerbread houses, tree ornaments, advent calendars, door wreaths, mantel garlands, stocking \
            fillers, sugar cookies, snow globes, gift wrapping, table settings, paper stars, winter candles, \
            felt reindeer, festive cocoa, front porch lights, carol evenings",
    },
    Category {
        name: "diy-and-crafts",
        subjects: "macrame hangers, resin coasters, pallet shelves, crochet blankets, button bouquets, origami boxes, \
            soap moulds, painted pots, knitted socks, beaded bracelets, wood burning, yarn garlands, paper \
            flowers, tin lanterns, felt animals, cork boards",
    },
    Category {
        name: "education",
        subjects: "reading corners, science experiments, number games, spelling lists, classroom posters, lesson plans, \
            phonics cards, history timelines, fraction puzzles, morning routines, writing prompts, sensory bins, \
            map skills, study notes, school bulletin boards, story stones",
    },
    Category {
        name: "event-planning",
        subjects: "garden weddings, birthday balloons, seating charts, table centrepieces, party invitations, dessert \
            buffets, baby showers, photo booths, picnic parties, guest books, anniversary dinners, flower \
            arches, welcome signs, lemonade stands, graduation evenings, budget checklists",
    },
    Category {
        name: "finance",
        subjects: "monthly budgets, savings challenges, side incomes, debt trackers, index funds, meal budgets, \
            retirement plans, emergency funds, no spend weeks, credit scores, household ledgers, passive income, \
            cash envelopes, first investments, tax folders, frugal habits",
    },
    Category {
        name: "home-decor",
        subjects: "farmhouse kitchens, gallery walls, small bathrooms, linen curtains, reading nooks, entryway benches, \
            wicker baskets, attic bedrooms, open shelves, painted furniture, living room rugs, indoor plants, \
            balcony corners, stone fireplaces, vintage lamps, laundry rooms",
    },
    Category {
        name: "mens-fashion",
        subjects: "linen suits, leather boots, denim jackets, wool overcoats, canvas sneakers, knitted ties, casual \
            outfits, tailored trousers, summer shirts, field watches, beard styles, rain coats, weekend bags, \
            flannel layers, polo shirts, winter scarves",
    },
    Category {
        name: "quotes",
        subjects: "morning thoughts, words of courage, sayings on friendship, lines about the sea, gentle reminders, \
            notes to self, proverbs for travellers, lessons on patience, one line poems, advice for mondays, \
            words on kindness, lines for a card, thoughts on change, sayings on work, quiet truths, family \
            mottos",
    },
    Category {
        name: "tattoos",
        subjects: "fine line flowers, forearm sleeves, tiny ankle symbols, geometric wolves, mountain outlines, wrist \
            lettering, compass roses, shoulder ferns, minimal waves, blackwork moths, moon phases, matching \
            tattoos, dotwork suns, japanese koi, spine vines, sailor swallows",
    },
    Category {
        name: "travel",
        subjects: "island beaches, night trains, mountain huts, old harbours, city weekends, desert roads, packing \
            lists, hidden waterfalls, road trips, lake cabins, street food, castle towns, hiking trails, \
            northern lights, rooftop views, camping spots",
    },
    Category {
        name: "vehicles",
        subjects: "vintage roadsters, camper vans, cafe racers, electric bicycles, off road trucks, classic wagons, \
            rally cars, wooden boats, hot rods, steam engines, touring motorcycles, concept cars, garage builds, \
            pickup trucks, old tractors, racing bikes",
    },
];

pub(in crate::emulator) const TAG_PREFIXES: &[&str] = &[
    "Easy",
    "Simple",
    "Modern",
    "Vintage",
    "Best",
    "Cute",
    "Rustic",
    "Handmade",
    "Beautiful",
    "Unique",
    "Little",
    "Creative",
];

pub(in crate::emulator) const TAG_SUFFIXES: &[&str] = &[
    "Ideas",
    "Inspiration",
    "Designs",
    "Projects",
    "Tips",
    "For Beginners",
    "At Home",
    "Aesthetic",
    "Tutorial",
    "Style",
];
