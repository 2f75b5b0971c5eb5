//! First and last names: one ASCII word each, a capital and then small letters.

pub(in crate::emulator) const FIRST_NAMES: &str = "
Ada Adele Agnes Aidan Alba Albert Alice Alma Amelia Amir Ana Andrea Anita Anton April Ariel Arthur Astrid August
Ava Barbara Basil Beatrice Bella Benjamin Bernard Bianca Boris Bridget Bruno Caleb Camille Carl Carmen Caroline
Cecilia Celeste Charlotte Clara Claude Clement Colin Cora Cyril Dahlia Damian Daniel Daphne Dario David Deborah
Delia Diana Dominic Dora Duncan Edith Edmund Elena Eli Elias Elise Ella Emil Emma Enzo Erika Esther Eva Evelyn
Fabian Felicity Felix Fiona Flora Frances Frank Freya Gabriel Gemma George Gilbert Gloria Grace Greta Gustav
Hannah Harold Harriet Hazel Hector Helen Henry Hilda Hugo Ida Ignatius Ines Ingrid Irene Iris Isaac Isabel Ivan
Ivy Jack Jacob Jade Jasper Joan Joel Johanna Jonas Josephine Judith Jules Julia Karin Kasper Kate Kira Klaus
Lara Laura Laurence Lea Leo Leon Lilian Linda Lionel Lola Lorenz Louis Louise Lucas Lucia Lydia Mabel Magnus
Malik Manuel Marcel Margot Maria Marius Martha Martin Matilda Maurice Max Mia Michael Mila Minna Miriam Morgan
Nadia Naomi Nathan Nell Nico Nina Noah Nora Octavia Olga Olive Oliver Oscar Otto Pablo Pauline Pearl Peter Petra
Philip Phoebe Quentin Rafael Ralph Ramona Regina Rita Robert Roland Roman Rosa Rowan Ruben Rupert Ruth Sabine
Samuel Sandra Sara Saul Selma Sidney Silvia Simon Sofia Stella Stephen Sylvan Tamara Tessa Thea Theodore Thomas
Tilda Tobias Ursula Valentin Vera Victor Viola Walter Wanda Wilhelm Winifred Xavier Yara Yasmin Yvonne Zachary
Zelda Zoe";

pub(in crate::emulator) const LAST_NAMES: &str = "
Abel Ackerman Adler Ahlgren Ainsley Albrecht Alder Almeida Amari Anders Archer Arnold Ashby Atwood Avery Bailey
Baker Baldwin Banks Barber Barlow Barnard Barrow Barton Bates Becker Bellamy Benson Berger Birch Bishop Blake
Bloom Boland Bonner Booth Bower Bradley Brandt Brennan Briggs Brook Bryant Burke Burton Butler Byrne Caldwell
Calvert Cameron Carver Castro Chandler Chapman Clifford Cole Conrad Cooper Corbett Costa Crane Crawford Cross
Curtis Dale Dalton Daniels Darby Dawson Deacon Delgado Denholm Dexter Diaz Dixon Dorsey Douglas Draper Drummond
Duarte Dumont Dunn Eaton Ebert Eckhart Edwards Eklund Ellison Emerson Engel Erickson Espinoza Everett Faber
Fairchild Farrell Faulkner Ferrari Field Fischer Fleming Fletcher Flores Forbes Forster Fowler Franklin Frost
Fuentes Gallagher Garland Garner Gibbs Gilmore Goddard Goodwin Gordon Graham Granger Greenberg Griffin Guerra
Haas Hale Halloran Hammond Hansen Harding Harper Hartley Harvey Hastings Hawkins Hayward Heath Heller Henderson
Herrera Hewitt Higgins Hobbs Hoffman Holden Holloway Holt Hopkins Horn Howell Hubbard Hudson Hunter Hurst Ibarra
Ingram Irving Iverson Jansen Jarvis Jennings Jensen Joyner Kaplan Kaufman Keating Keller Kemp Kendall Kerr Klein
Knight Knox Kramer Lambert Lane Larsen Lawson Leclair Lennox Leroy Lindgren Lloyd Lockwood Lowell Lucero Lund
Lynch Madden Maher Mallory Marks Marlow Marsh Mason Mather Maxwell Mayer Meadows Mendoza Mercer Meyer Middleton
Miles Milton Monroe Montes Moreau Morton Moss Muller Munro Nash Naylor Newman Nichols Nilsson Noble Norris
Norwood Novak Oakley Odell Olsen Ortega Osborne Owens Pace Padilla Page Palmer Parrish Patton Pearson Penn
Perkins Petersen Phelps Pierce Pike Pollard Porter Potter Prescott Preston Quinn Radcliffe Ramsey Rawlins Reeves
Reid Rhodes Richter Riley Rivers Roberts Rojas Rosen Rowe Russell Ryder Salazar Sampson Sanders Santos Sawyer
Schmidt Schroeder Sears Shaw Shepherd Sherman Silva Sinclair Skinner Slater Snow Sorensen Sparks Stafford
Stanton Steele Sterling Stokes Stone Summers Sutton Tanner Tate Temple Thatcher Thornton Tobin Torres Townsend
Tucker Underwood Vance Vargas Vaughn Vega Vogel Wade Wagner Walden Waller Walton Warner Waters Webb Weber Wells
Weston Whitaker Wilder Winslow Winters Wolfe Woodward Wyatt Yates York Young Zamora Ziegler Zimmer";
